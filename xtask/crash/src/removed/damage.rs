//! What is done to a session.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};

use nix::sys::signal::Signal;
use tests::{IpcObject, Sandbox, signal_all};

use crate::exhaustive;

/// What a foreign program writes.
pub(crate) const FOREIGN: &str = "hello\n";
/// What the log is called while it is renamed: outside of what the programs look at.
pub(crate) const RENAMED: &str = "sistem.log.renamed";

/// Something that others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Queues,
    Segment,
    SegmentAndQueues,
    /// All processes and all IPC objects are gone, and the log ends in the middle of a line.
    Reboot,
    LogRenamed,
    LogUnlinked,
    LogTruncated,
    ForeignLine,
    /// … by a program that locks the log, as the original does.
    ForeignLineUnderLock,
}

impl Damage {
    pub(crate) const ALL: [Self; 9] = [
        Self::Queues,
        Self::Segment,
        Self::SegmentAndQueues,
        Self::Reboot,
        Self::LogRenamed,
        Self::LogUnlinked,
        Self::LogTruncated,
        Self::ForeignLine,
        Self::ForeignLineUnderLock,
    ];

    /// Does it, while everyone stands still.
    pub(crate) fn inflict(self, sandbox: &Sandbox) -> io::Result<()> {
        let log = sandbox.log_path();
        let remove = |which: fn(&IpcObject) -> bool| {
            sandbox.ipc_objects().into_iter().filter(which).for_each(IpcObject::remove);
        };
        match self {
            Self::Queues => remove(|object| matches!(object, IpcObject::Queue { .. })),
            Self::Segment => remove(|object| matches!(object, IpcObject::Segment { .. })),
            Self::SegmentAndQueues => remove(|_| true),
            Self::Reboot => {
                exhaustive::clear(sandbox);
                let log = OpenOptions::new().write(true).open(log)?;
                let len = log.metadata()?.len();
                // Not into a submission's own lines: those were confirmed.
                if len > 100 {
                    log.set_len(len - 5)?;
                }
            }
            Self::LogRenamed => fs::rename(&log, log.with_file_name(RENAMED))?,
            Self::LogUnlinked => fs::remove_file(log)?,
            Self::LogTruncated => {
                let log = OpenOptions::new().write(true).open(log)?;
                log.set_len(log.metadata()?.len() / 2)?;
            }
            Self::ForeignLine => append(&OpenOptions::new().append(true).open(log)?)?,
            Self::ForeignLineUnderLock => {
                let log = OpenOptions::new().append(true).open(log)?;
                match log.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => {
                        // Its holder stands still.
                        signal_all(&sandbox.dir(), Signal::SIGCONT);
                        log.lock()?;
                    }
                    Err(TryLockError::Error(error)) => return Err(error),
                }
                append(&log)?;
                log.unlock()?;
            }
        }
        Ok(())
    }
}

fn append(mut log: &File) -> io::Result<()> {
    log.write_all(FOREIGN.as_bytes())
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queues => "queues removed",
            Self::Segment => "segment removed",
            Self::SegmentAndQueues => "segment and queues removed",
            Self::Reboot => "everything gone but the log",
            Self::LogRenamed => "log renamed",
            Self::LogUnlinked => "log unlinked",
            Self::LogTruncated => "log truncated",
            Self::ForeignLine => "foreign line",
            Self::ForeignLineUnderLock => "foreign line under the lock",
        })
    }
}
