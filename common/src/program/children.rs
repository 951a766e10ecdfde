//! The children of this process, also those that it did not start: what a dead child left comes to the nearest
//! subreaper (`PR_SET_CHILD_SUBREAPER(2const)`).

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{Pid, getpid};

use crate::program::process_stat::ProcessStat;

/// All of them, those included that have ended and are not waited for.
#[must_use]
pub fn all() -> Vec<Pid> {
    let pid = |name: &str| name.parse().ok().map(Pid::from_raw);
    if let Ok(list) = fs::read_to_string("/proc/thread-self/children") {
        return list.split_whitespace().filter_map(pid).collect();
    }
    // A kernel without that file.
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| pid(entry.file_name().to_str()?));
    let is_own = |&pid: &Pid| ProcessStat::of(pid).is_some_and(|it| it.parent == getpid());
    pids.filter(is_own).collect()
}

/// Whether there is any: asked of the kernel, without a look at `/proc`.
#[must_use]
pub fn is_any() -> bool {
    waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT).is_ok()
}

/// Reaps those that have ended, up to one that somebody else waits for, and returns which they were.
pub fn reap_until(is_awaited: impl Fn(Pid) -> bool, mut reaped: impl FnMut(Pid)) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(Some(pid)) = waitid(Id::All, look).map(|status| status.pid())
        && !is_awaited(pid)
    {
        // It fails only if there is nothing to reap.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        reaped(pid);
    }
}

/// Sends a signal to all but those, and reaps who has ended of the others. Returns whether any of them lives: what
/// it has started comes here only after its death, so ask again.
#[expect(clippy::must_use_candidate, reason = "it also acts")]
pub fn signal_all_but(spared: &[Pid], signal: Option<Signal>) -> bool {
    loop {
        let (mut any, mut reaped_any) = (false, false);
        for pid in all().into_iter().filter(|pid| !spared.contains(pid)) {
            // Not waited for yet, so the number is its own.
            if let Some(signal) = signal {
                let _ = kill(pid, signal);
            }
            let reaped =
                waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some());
            any |= !reaped;
            reaped_any |= reaped;
        }
        // What those that were reaped had started may have come after the list was read.
        if any || !reaped_any {
            return any;
        }
    }
}
