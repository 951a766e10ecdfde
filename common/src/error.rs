//! What can go wrong, in words that name the object, the cause and what to do; and the exit codes.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::fence::signals;
use crate::program::advice::{FRESH, LOG, VERIFY, command};
use crate::program::service_manager;

/// Exit codes. 0 is done; 130, 143 and 129 follow SIGINT, SIGTERM and SIGHUP: a worker's first, a
/// balancer's second.
pub mod exit {
    /// Part of the work failed: some submissions were accepted, some not.
    pub const PARTLY: u8 = 1;
    /// Usage, or invalid input; also an N or K that does not fit the session.
    pub const USAGE: u8 = 2;
    /// Trouble with IPC, a peer, or a file.
    pub const TROUBLE: u8 = 3;
    /// A verification failed (lbctl and xtask only).
    pub const VERIFY: u8 = 4;
}

/// Every error that a process of ours ends with.
#[expect(missing_docs, reason = "the messages say what the fields are")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The instance's directory.
    #[error("{}: {source}; give a directory that exists and that you may write, with --dir", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// The log cannot be opened, or should not be.
    #[error("{}: {why}", path.display())]
    LogRefused { path: PathBuf, why: String },
    /// The log's path names another file than the session's, or none.
    #[error(
        "{LOG} was renamed, removed or replaced while its session is unfinished; put it back and start \
         again, or set the session aside with `{FRESH}`. Nothing was written"
    )]
    LogReplaced,
    /// The log is shorter than what was written to it.
    #[error(
        "{LOG} has {len} bytes, but {written} were written: it was truncated; put the missing bytes back \
         and start again, or set the session aside with `{FRESH}`. Nothing was written"
    )]
    LogTruncated { len: u64, written: u64 },
    /// Somebody else's bytes are in the log.
    #[error(
        "another program wrote to {LOG} from byte {at} on; take that out (`truncate -s {at} {LOG}`) and \
         start again, or set the session aside with `{FRESH}`. Nothing was written over"
    )]
    LogForeign { at: u64 },
    /// Writing the log failed; what was begun has been taken back.
    #[error("{LOG} cannot be written: {0}{hint}", hint = hint("write", errno(.0)))]
    LogWrite(io::Error),
    /// Writing the log failed, and what was begun cannot be taken back.
    #[error(
        "{LOG} cannot be written: {0}; what was begun cannot be taken back, and is completed by whoever \
         writes to the log next"
    )]
    LogUnclear(io::Error),
    /// Lines are in the log that this ledger knows nothing of.
    #[error(
        "{LOG} goes on from byte {at} with lines that its ledger does not know: the session was continued in \
         another IPC namespace, or somebody added them. If they are to count, remove this ledger (`ipcrm -m \
         {segment}`) and start again: the session is then read back from {LOG}. Nothing was written over"
    )]
    LogContinued { at: u64, segment: i32 },
    /// Somebody uses the log from where his IPC objects cannot be seen.
    #[error(
        "{LOG} is in use {0}: what is there cannot be reached from here; run all processes of a directory \
         in one place (containers: `--ipc container:NAME` and the same directory). Nothing was accepted"
    )]
    Elsewhere(&'static str),
    /// It cannot be found out which IPC namespace this is.
    #[error("/proc/self/ns/ipc: {0}; it tells which IPC namespace this is: mount proc(5) at /proc")]
    NoNamespace(io::Error),
    /// Any other trouble with the log.
    #[error("{LOG}: {0}")]
    Log(io::Error),
    /// The log cannot be continued, since its last session breaks the order.
    #[error(
        "{LOG} cannot be read back: {why}; mend it (`{VERIFY} {LOG}` shows the line), or set it aside \
         with `{FRESH}`"
    )]
    LogUnreadable { why: String },
    /// A call on an IPC object failed.
    #[error("{object}: {call}: {}{}", source.desc(), hint(call, *source))]
    Ipc { object: String, call: &'static str, source: Errno },
    /// All keys that this directory may use are taken by others.
    #[error("all {tries} keys for the {object} of this directory are used by others; see `ipcs`")]
    KeysTaken { object: &'static str, tries: u32 },
    /// Shared memory holds what none of our processes writes.
    #[error(
        "the ledger (shared memory segment {segment}) is damaged: {why}; remove it (`ipcrm -m {segment}`) and \
         start again: the session is then rebuilt from {LOG}"
    )]
    Damaged { segment: i32, why: &'static str },
    /// The segment was removed by somebody else.
    #[error("the ledger was removed by another program; start again: it is rebuilt from {LOG}")]
    LedgerRemoved,
    /// The session ended while somebody still wanted something of it.
    #[error("the session has ended")]
    SessionEnded,
    /// A signal came while the process waited.
    #[error("aborted before it had the lock on {LOG}, or had read it back")]
    Aborted(Signal),
    /// Another live process has the role.
    #[error("{0} is already running in this directory: end it, or use another directory (--dir)")]
    RoleTaken(String),
    /// The unfinished session has another number of workers.
    #[error(
        "the unfinished session in this directory is shared by {session} worker(s), not {asked}: finish it with \
         `{}`, or set it aside with `{FRESH}`",
        command("loadbalancer", session)
    )]
    OtherWorkers { session: u32, asked: u32 },
    /// What one program alone can say, and the exit code that goes with it.
    #[error("{what}")]
    Own { what: String, code: u8 },
    /// A worker cannot be started, or does not stay.
    #[error("worker {worker}: {why}")]
    Worker { worker: u32, why: String },
    /// What is to be done with each message cannot be started.
    #[error("cannot run {}: {why}", command.display())]
    NoCommand { command: PathBuf, why: String },
    /// A file beside the log.
    #[error("{}: {source}{hint}", path.display(), hint = hint("write", errno(source)))]
    File { path: PathBuf, source: io::Error },
    /// Anything else that the system refused.
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// What to do. The limits are those of `sysctl(8)`, as `ipcs -l` lists them.
fn hint(call: &str, error: Errno) -> &'static str {
    match (call, error) {
        ("write", Errno::ENOSPC | Errno::EDQUOT) => "; make room",
        ("write", Errno::EFBIG) => "; raise the file size limit (ulimit -f)",
        ("shmget", Errno::EINVAL) => "; it needs about 1 MiB: `sysctl -w kernel.shmmax=2097152`",
        ("shmget", Errno::ENOSPC) => {
            "; the system has no more shared memory: remove unused segments (`ipcs -m`, `ipcrm -m ID`) or raise \
             kernel.shmmni (how many) and kernel.shmall (pages of all)"
        }
        ("msgget", Errno::ENOSPC) => {
            "; there are no more message queues: remove unused ones (`ipcs -q`, `ipcrm -q ID`) or raise kernel.msgmni"
        }
        (_, Errno::ENOMEM) => "; the system has no memory left for it",
        _ => "",
    }
}

/// What the system said, if it was the system.
fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// For mapping errors of the system: `.map_err(Error::system("fork"))`.
impl Error {
    /// An error of a call that is about none of our objects.
    pub fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { what, source: source.into() }
    }

    /// An error of a call on an IPC object.
    pub fn ipc(object: impl Display, call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Ipc { object: object.to_string(), call, source }
    }

    /// The same of what another process had begun: nothing of this one's own is unclear.
    pub(crate) fn of_another(self) -> Self {
        if let Self::LogUnclear(why) = self { Self::LogWrite(why) } else { self }
    }

    /// The file system is full, or the user's quota on it is used up: waiting may help.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::LogWrite(why) | Self::LogUnclear(why) | Self::File { source: why, .. }
            if matches!(errno(why), Errno::ENOSPC | Errno::EDQUOT))
    }

    /// The exit code for the kind of trouble.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OtherWorkers { .. } | Self::NoCommand { .. } => exit::USAGE,
            Self::Own { code, .. } => *code,
            Self::Aborted(signal) => signal_exit_code(*signal),
            _ => exit::TROUBLE,
        }
    }
}

/// The exit code of a process that a signal made end.
#[must_use]
pub fn signal_exit_code(signal: Signal) -> u8 {
    128 + signal as u8 // at most 31
}

/// An error once a signal came that aborts the process: for whatever may take long, and is seen to go on by this.
pub fn heed_signals() -> Result<(), Error> {
    service_manager::beat();
    signals::aborted_by().map_or(Ok(()), |signal| Err(Error::Aborted(signal)))
}

/// The end of every `main`: prints the error, if any, and turns the outcome into an exit code.
#[must_use]
pub fn report(program: &str, outcome: Result<u8, Error>) -> ExitCode {
    let code = outcome.unwrap_or_else(|error| {
        crate::tell!("{program}: {error}");
        error.exit_code()
    });
    code.into()
}
