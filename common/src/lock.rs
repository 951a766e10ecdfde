//! The lock on the log: `flock(2)` on `sistem.log` itself, which the kernel releases when its holder
//! dies, and which keeps out foreign programs that flock it too.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::fence::signals;
use crate::pause::pause;

/// For so long a writer leaves the lock to a client that asked for it. Without, a client waited up to
/// a second while lines were written in bulk.
pub(crate) const LEAVE_LOCK: Duration = Duration::from_micros(100);

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// Held until dropped, also in a panic.
pub(crate) struct LogLock<'a>(&'a File);

impl<'a> LogLock<'a> {
    pub(crate) fn try_take(log: &'a File) -> Result<Option<Self>, Error> {
        loop {
            match log.try_lock() {
                Ok(()) => return Ok(Some(Self(log))),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(e)) => return Err(Error::Log(e)),
            }
        }
    }

    /// Waits for the lock, with growing pauses instead of in the kernel: so a holder that was
    /// stopped can be named, and a signal that aborts the process is heeded.
    pub(crate) fn wait(log: &'a File, ask_for_it: impl Fn()) -> Result<Self, Error> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut limit = LEAVE_LOCK / 2;
        let mut told = false;
        loop {
            if let Some(lock) = Self::try_take(log)? {
                return Ok(lock);
            }
            if let Some(signal) = signals::aborted_by() {
                return Err(Error::Aborted(signal));
            }
            ask_for_it();
            if !told && start.elapsed() > PATIENCE {
                told = true;
                crate::tell!("waiting: {} has locked sistem.log", holder(log));
            }
            pause(limit);
            // Half of LEAVE_LOCK at first, so that it is not missed.
            if start.elapsed() > 100 * LEAVE_LOCK {
                limit = (2 * limit).min(PAUSE_MAX);
            }
        }
    }
}

impl Drop for LogLock<'_> {
    fn drop(&mut self) {
        // Tried again, since others would wait as long as this process lives.
        for _ in 0..10 {
            if self.0.unlock().is_ok() {
                return;
            }
        }
    }
}

/// Who holds the lock, as far as `/proc/locks` tells (`proc_locks(5)`).
pub(crate) fn holder(log: &File) -> String {
    let inode = log.metadata().map(|m| format!(":{} ", m.ino())).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    locks
        .lines()
        .filter(|line| line.contains("FLOCK") && line.contains(&inode))
        .find_map(|line| line.split_whitespace().nth(4))
        .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
