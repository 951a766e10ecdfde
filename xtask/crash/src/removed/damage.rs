//! What is done to a session.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};

use nix::sys::signal::Signal;
use tests::{IpcObject, Sandbox, signal_all};

use crate::violation;

/// What a foreign program writes.
pub(crate) const FOREIGN: &str = "hello\n";
/// What the log is called while it is renamed: outside of what the programs look at.
pub(crate) const RENAMED: &str = "sistem.log.renamed";

/// Something that others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumIter)]
pub(crate) enum Damage {
    #[strum(to_string = "queues removed")]
    Queues,
    #[strum(to_string = "segment removed")]
    Segment,
    #[strum(to_string = "segment and queues removed")]
    SegmentAndQueues,
    /// All processes and all IPC objects are gone, and the log ends in the middle of a line.
    #[strum(to_string = "everything gone but the log")]
    Reboot,
    #[strum(to_string = "log renamed")]
    LogRenamed,
    #[strum(to_string = "log unlinked")]
    LogUnlinked,
    #[strum(to_string = "log truncated")]
    LogTruncated,
    #[strum(to_string = "foreign line")]
    ForeignLine,
    /// … by a program that locks the log, as the original does.
    #[strum(to_string = "foreign line under the lock")]
    ForeignLineUnderLock,
}

impl Damage {
    /// Does it, while everyone is stopped.
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
                violation::clear(sandbox);
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
                        // Its holder is stopped.
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
