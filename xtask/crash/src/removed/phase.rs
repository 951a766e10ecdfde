//! When something is done to a session, and holding it there.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::grammar::rotation::WorkerId;
use common::ledger::Ledger;
use common::ledger::cursors::Cursors;
use nix::sys::signal::Signal;
use tests::{Process, Sandbox, signal_all};

use crate::witness;

const PATIENCE: Duration = Duration::from_secs(20);

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumIter)]
pub(crate) enum Phase {
    /// A submission is accepted, and no load balancer has come.
    #[strum(to_string = "not started")]
    NotStarted,
    /// In the middle of the `Received` lines.
    #[strum(to_string = "received lines")]
    Received,
    /// In the middle of the workers' lines.
    #[strum(to_string = "worker lines")]
    Executed,
    /// The totals are due, and one worker is not ready for its own.
    #[strum(to_string = "totals")]
    Totals,
}

impl Phase {
    /// How many messages are submitted: for a phase in the middle of lines enough to meet it.
    pub(crate) fn count(self) -> u32 {
        match self {
            Self::NotStarted | Self::Totals => 10,
            Self::Received | Self::Executed => 1_000_000,
        }
    }

    fn is_now(self, ledger: &Ledger, at: &Cursors) -> bool {
        let count = at.messages;
        match self {
            Self::NotStarted => true,
            Self::Received => at.line > 0 && at.line < count,
            // So many that the log tells N for certain.
            Self::Executed => at.line > count + 1000,
            Self::Totals => {
                let first = WorkerId::all().next();
                at.totals == 0 && first.is_some_and(|worker_1| ledger.cell(worker_1).is_done())
            }
        }
    }
}

/// Waits for the phase, and stops every process there. Returns whether it was met: it may have passed
/// before all stood still.
pub(crate) fn hold(sandbox: &Sandbox, phase: Phase, balancer: &Process) -> Result<bool, String> {
    let dir = &sandbox.dir();
    let start = Instant::now();
    let mut asked = false;
    while start.elapsed() < PATIENCE {
        let Some(ledger) = witness::ledger(dir) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        // Attached once: the moments in the middle of lines are short.
        while start.elapsed() < PATIENCE {
            let Ok(at) = ledger.cursors() else { continue };
            if phase == Phase::Totals && !asked && at.submissions > 0 && at.all_logged() {
                // Worker 1 can finish, worker 2 cannot.
                asked = true;
                stop_worker_2(sandbox)?;
                balancer.signal(Signal::SIGTERM);
            }
            if phase.is_now(&ledger, &at) {
                stop_all(dir);
                return Ok(ledger.cursors().is_ok_and(|at| phase.is_now(&ledger, &at)));
            }
            if at.is_closing() && phase != Phase::Totals {
                return Ok(false);
            }
        }
    }
    Err(format!("the phase never came: {phase}"))
}

fn stop_worker_2(sandbox: &Sandbox) -> Result<(), String> {
    let worker = sandbox.spawned_worker(2).ok_or("there is no worker 2")?;
    let stands = tests::stop_outside_lock(worker, &sandbox.log_path());
    stands.then_some(()).ok_or_else(|| "worker 2 did not stop".to_owned())
}

fn stop_all(dir: &Path) {
    // First all, then each waited for: in the phase that was asked for.
    signal_all(dir, Signal::SIGSTOP);
    for pid in tests::processes(dir) {
        // It may have ended before.
        let _ = tests::stop(pid);
    }
}
