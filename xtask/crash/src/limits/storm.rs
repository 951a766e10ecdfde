//! A signal every 50 microseconds to every process: no call may take EINTR for an end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Process, Sandbox};

use super::limited::{PATIENCE, expect_log, undisturbed};
use super::{Failure, Setting};

const EVERY: Duration = Duration::from_micros(50);
/// Handled by balancer and workers, so that it interrupts them.
const SIGNAL: Signal = Signal::SIGCHLD;

pub(super) fn storm(setting: &Setting<'_>) -> Result<String, Failure> {
    const SUBMISSION: &str = "Halo A;20000";
    let whole = undisturbed(setting, SUBMISSION)?;
    let start = Instant::now();
    let (mut sessions, mut signals) = (0_u64, 0);
    while start.elapsed() < setting.storm_for {
        let sandbox = setting.sandbox();
        let mut running: Vec<Process> =
            ["1", "2", "3"].iter().map(|k| sandbox.start("worker", &[k])).collect();
        running.push(sandbox.start("loadbalancer", &["--no-spawn", "3"]));
        running.push(sandbox.start("client", &[SUBMISSION]));
        let pids: Vec<Pid> = running.iter().map(|process| Pid::from_raw(process.pid())).collect();
        let (ended, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| strike(&pids, &ended, &sent));
            let outcome = all_end_well(&sandbox, &mut running);
            ended.store(true, Ordering::Relaxed);
            outcome
        })?;
        expect_log(&sandbox, &whole)?;
        sessions += 1;
        signals += sent.into_inner();
    }
    Ok(format!("{sessions} sessions under {signals} signals, all byte for byte"))
}

/// Sends the signal to each of them, again and again. None is reaped meanwhile by anyone else, and
/// a pid that is free again is not given out so soon.
fn strike(pids: &[Pid], ended: &AtomicBool, sent: &AtomicU64) {
    let mut next = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        for &pid in pids {
            sent.fetch_add(u64::from(kill(pid, SIGNAL).is_ok()), Ordering::Relaxed);
        }
        next += EVERY;
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
}

fn all_end_well(sandbox: &Sandbox, running: &mut [Process]) -> Result<(), String> {
    for process in running {
        let ended =
            process.wait(PATIENCE).ok_or_else(|| format!("never ends{}", sandbox.report()))?;
        if ended.status.code() != Some(0) {
            return Err(format!("{ended:?}"));
        }
    }
    Ok(())
}
