//! How often the processes of a `loadbalancer --serve` wake up while there is nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use common::grammar::rotation::Workers;
use serde::Serialize;
use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::{Failure, until};
use super::judge;
use super::launch::{self, launch};

/// How long a process may take to fall asleep after the work.
const SETTLE: Duration = Duration::from_millis(500);

/// Wake-ups of one process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    pub(super) program: String,
    pub(super) wake_ups: u64,
    pub(super) per_second: f64,
}

/// Counts the times that each process went to sleep again (`voluntary_ctxt_switches`) in a span in
/// which nothing is submitted, after one message was.
pub(super) fn run(
    span: Duration,
    workers: Workers,
    binaries: &Binaries,
) -> Result<Vec<Idle>, Failure> {
    let sandbox = Sandbox::new(binaries);
    let balancer =
        launch(sandbox.command("loadbalancer", &["--serve", &workers.get().to_string()]))?;
    let case = Case::many(1, 6, workers);
    launch(sandbox.command("client", &["--quiet", &format!("{};1", case.text())]))?.finish()?;
    until("the message's line", || {
        (sandbox.log_len() >= case.log_len_before_totals()).then_some(())
    })?;
    thread::sleep(SETTLE);

    let processes = sandbox.processes();
    let before: Vec<u64> = processes.iter().map(|&pid| sleeps(pid)).collect();
    let start = Instant::now();
    thread::sleep(span);
    let seconds = start.elapsed().as_secs_f64();
    let idle = processes.iter().zip(before).map(|(&pid, before)| {
        let wake_ups = sleeps(pid).saturating_sub(before);
        let per_second = f64::from(u32::try_from(wake_ups).unwrap_or(u32::MAX)) / seconds;
        Idle { program: launch::program(pid), wake_ups, per_second }
    });
    let idle = idle.collect();
    balancer.terminate();
    balancer.finish()?;
    judge::canonical(&sandbox.log_path(), &case)?;
    Ok(idle)
}

/// How often a process has gone to sleep so far.
fn sleeps(pid: i32) -> u64 {
    let count = tests::status_field(pid, "voluntary_ctxt_switches:");
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}
