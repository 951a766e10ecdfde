//! A load balancer that dies, and its successor, while a worker is stopped.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::fence::message_queue::MessageQueue;
use common::grammar::rotation::WorkerId;
use common::instance::directory;
use common::queue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::witness;

/// How long the successor may take until it has sent something; where nothing is left to send, all of
/// it passes.
const PATIENCE: Duration = Duration::from_millis(300);

/// Kills the directory's load balancer, and waits until another one, which the play starts, has sent
/// frames to the worker that is stopped.
pub(crate) fn replace_balancer(dir: &Path, worker: Pid) {
    let Some(number) = last_argument(worker).and_then(|number| number.parse().ok()) else { return };
    let before = queue_generation(dir, number);
    for pid in tests::processes(dir) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim_end() == "loadbalancer" {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if queue_generation(dir, number) != before && has_frames(dir, number) {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn last_argument(pid: Pid) -> Option<String> {
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    arguments.split('\0').rfind(|argument| !argument.is_empty()).map(str::to_owned)
}

fn queue_generation(dir: &Path, worker: WorkerId) -> Option<u32> {
    witness::ledger(dir).map(|ledger| ledger.cell(worker).queue().0)
}

fn has_frames(dir: &Path, worker: WorkerId) -> bool {
    let load = witness::ledger(dir).and_then(|ledger| {
        let mark = directory::mark(ledger.identity().ok()?.directory);
        queue::load(MessageQueue(ledger.cell(worker).queue().1), mark).ok()
    });
    load.is_some_and(|load| load.messages > 0)
}
