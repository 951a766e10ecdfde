//! `Halo A;10` with 3 workers, from nothing to the end, against the same five processes doing nothing
//! (`--version`), started in the same shape: client and balancer at once, then the workers at once.
//! Only that the harness starts those workers, since a balancer that does nothing cannot.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::grammar::rotation::Workers;
use serde::Serialize;
use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::Failure;
use super::job::Job;
use super::judge;
use super::launch::{Launched, launch};
use super::spread::Spread;

/// How long from nothing to the end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Startup {
    pub(super) messages: u32,
    pub(super) workers: u32,
    pub(super) ours_ms: Spread,
    pub(super) nothing_ms: Spread,
    /// Ours by nothing, round by round.
    pub(super) times_nothing: Spread,
    pub(super) verified: bool,
}

/// So many rounds of both in turn, and one before.
pub(super) fn run(
    rounds: usize,
    workers: Workers,
    binaries: &Binaries,
) -> Result<Startup, Failure> {
    let case = Case::many(10, 6, workers);
    let (mut ours, mut nothing, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let sandbox = Sandbox::new(binaries);
        let job = Job::new(&sandbox, &case)?.run()?;
        judge::canonical(&sandbox.log_path(), &case)?;
        let idle = do_nothing(&sandbox, workers)?;
        if round > 0 {
            ours.push(job.as_secs_f64() * 1e3);
            nothing.push(idle.as_secs_f64() * 1e3);
            ratios.push(job.as_secs_f64() / idle.as_secs_f64());
        }
    }
    Ok(Startup {
        messages: case.messages,
        workers: workers.get(),
        ours_ms: Spread::of(&ours),
        nothing_ms: Spread::of(&nothing),
        times_nothing: Spread::of(&ratios),
        verified: true,
    })
}

fn do_nothing(sandbox: &Sandbox, workers: Workers) -> Result<Duration, Failure> {
    let version = |program: &str| -> Command {
        let mut command = sandbox.command(program, &["--version"]);
        command.stdout(Stdio::null());
        command
    };
    let start = Instant::now();
    let client = launch(version("client"))?;
    launch(version("loadbalancer"))?.finish()?;
    let workers: Result<Vec<_>, _> = workers.ids().map(|_| launch(version("worker"))).collect();
    workers?.into_iter().try_for_each(Launched::finish)?;
    client.finish()?;
    Ok(start.elapsed())
}
