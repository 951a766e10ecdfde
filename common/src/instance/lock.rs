//! The lock on the log: `flock(2)` on `sistem.log` itself, which the kernel releases when its holder
//! dies, and which keeps out foreign programs that flock it too.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, heed_signals};
use crate::ledger::Ledger;
use crate::program::advice::LOG;
use crate::program::pause::pause;

/// For so long a writer leaves the lock to a client that asked for it. Without, a client waited up to
/// a second while lines were written in bulk.
pub(crate) const LEAVE_LOCK: Duration = Duration::from_micros(100);

/// For so long it is tried again and again: a pause takes longer than most transactions.
const YIELD_FOR: Duration = Duration::from_micros(300);
/// For so long pauses are short.
const PAUSE_SHORT_FOR: Duration = Duration::from_millis(10);
/// The longest sleep of a client that has others before it, which may have been killed.
const TURN_MAX: Duration = Duration::from_millis(10);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// How the lock is waited for.
pub(crate) enum Wait<'a> {
    /// Whoever has it is not asked.
    Unasked,
    /// Those who write one transaction after the other are asked to leave it.
    Asking(&'a Ledger),
    /// So they are, and nothing is said: the load balancer says who has the lock.
    Silently(&'a Ledger),
    /// So they are, but by one client at a time: many who try again and again take the processor from whoever has the
    /// lock. Those after it sleep until one before them is through.
    InTurn(&'a Ledger),
}

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

    /// Waits for the lock, with pauses instead of in the kernel: so a holder that was
    /// stopped can be named, and a signal that aborts the process is heeded.
    pub(crate) fn wait(log: &'a File, how: &Wait<'_>) -> Result<Self, Error> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let (mut reported, mut is_first) = (false, false);
        loop {
            let turn = match how {
                Wait::InTurn(session) if !is_first => Some((session, session.space().look())),
                _ => None,
            };
            if let Some(lock) = Self::try_take(log)? {
                if let Some(session) = how.session() {
                    session.stop_asking();
                }
                return Ok(lock);
            }
            heed_signals()?;
            if !reported && !matches!(how, Wait::Silently(_)) && start.elapsed() > PATIENCE {
                reported = true;
                crate::note!("waiting: {} has locked {LOG}", holder(log));
            }
            let others_ask = how.session().is_some_and(Ledger::ask_for_lock);
            if let Some((session, seen)) = turn.filter(|_| others_ask) {
                session.space().sleep(seen, TURN_MAX).map_err(Error::system("futex"))?;
                continue;
            }
            is_first = true;
            match start.elapsed() {
                waited if waited < YIELD_FOR => thread::yield_now(),
                // Half of LEAVE_LOCK, so that it is not missed.
                waited if waited < PAUSE_SHORT_FOR => pause(LEAVE_LOCK / 2),
                _ => pause(PAUSE_MAX),
            }
        }
    }
}

impl Wait<'_> {
    fn session(&self) -> Option<&Ledger> {
        match self {
            Self::Unasked => None,
            Self::Asking(session) | Self::Silently(session) | Self::InTurn(session) => {
                Some(session)
            }
        }
    }
}

impl Drop for LogLock<'_> {
    fn drop(&mut self) {
        // Tried again, since others would wait as long as this process lives.
        let _ = (0..10).any(|_| self.0.unlock().is_ok());
    }
}

/// Who holds the lock, as far as that is certain.
pub(crate) fn holder(log: &File) -> String {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    log.metadata()
        .ok()
        .and_then(|log| taker(&locks, &log).filter(|&pid| has_open(pid, &log)))
        .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Who took the lock, as `/proc/locks` says (`proc_locks(5)`). On some file systems (btrfs, overlay) it names
/// another device than `stat(2)`: then nobody is found.
fn taker(locks: &str, log: &Metadata) -> Option<i32> {
    let (major, minor) = (rustix::fs::major(log.dev()), rustix::fs::minor(log.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", log.ino());
    locks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        // Who waits for the lock has an arrow in front.
        [_, "FLOCK", _, _, pid, of, ..] if of == file => pid.parse().ok(),
        _ => None,
    })
}

/// Who took the lock may be dead, and its number another process's: a child that inherited the open file then
/// holds it. In another pid namespace the number is 0.
fn has_open(pid: i32, log: &Metadata) -> bool {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut files = files.filter_map(|file| std::fs::metadata(file.path()).ok());
    files.any(|file| (file.dev(), file.ino()) == (log.dev(), log.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inode numbers repeat on every file system, and who waits, or has a lock of another kind, is not the
    /// holder.
    #[test]
    fn an_innocent_process_was_named() {
        let log = tempfile::tempfile().unwrap().metadata().unwrap();
        let (inode, dev) = (log.ino(), log.dev());
        let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
        let others = format!(
            "1: FLOCK  ADVISORY  WRITE 11 {major:02x}:{:02x}:{inode} 0 EOF\n\
             1: -> FLOCK  ADVISORY  WRITE 12 {major:02x}:{minor:02x}:{inode} 0 EOF\n\
             2: POSIX  ADVISORY  WRITE 13 {major:02x}:{minor:02x}:{inode} 0 EOF\n\
             3: OFDLCK ADVISORY  READ -1 {major:02x}:{minor:02x}:{inode} 7 7\n\
             4: FLOCK  ADVISORY  WRITE 14 {major:02x}:{minor:02x}:{inode}1 0 EOF\n",
            minor ^ 1
        );
        assert_eq!(taker(&others, &log), None);
        let held = format!("5: FLOCK  ADVISORY  WRITE 15 {major:02x}:{minor:02x}:{inode} 0 EOF\n");
        assert_eq!(taker(&(others + &held), &log), Some(15));
    }
}
