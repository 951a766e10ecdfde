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
use super::launch::{Launched, launch};
use super::spread::Spread;
use super::turns;

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
    let ours = || Job::new(&Sandbox::new(binaries), case)?.run();
    let took = turns::run(rounds, ours, || do_nothing(&Sandbox::new(binaries), workers))?;
    Ok(Startup {
        messages: case.messages,
        workers: workers.get(),
        ours_ms: took.first_ms,
        nothing_ms: took.second_ms,
        times_nothing: took.ratio,
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
