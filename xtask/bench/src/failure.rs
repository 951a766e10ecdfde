//! Why a measurement ended early.

use std::io;
use std::process::ExitStatus;

use common::error::exit;
use common::fence::signals;
use nix::sys::signal::Signal;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    #[error("`{name}` ended with {status}: {stderr}")]
    Program { name: String, status: ExitStatus, stderr: String },
    #[error("{what} has not happened within {seconds} s")]
    TooLate { what: &'static str, seconds: u64 },
    #[error("{case}: its log is wrong: {why}")]
    Wrong { case: String, why: String },
    #[error("{0}")]
    Build(String),
    /// The report cannot be written.
    #[error("{0}")]
    Report(common::error::Error),
    #[error("interrupted")]
    Interrupted(Signal),
}

impl Failure {
    /// For `map_err`: which object it was.
    pub(super) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::System { what, source: error.into() }
    }

    /// For `map_err`: what we measure could not be built.
    pub(super) fn build(why: String) -> Self {
        signals::aborted_by().map_or(Self::Build(why), Self::Interrupted)
    }

    /// Ends the measurement if Ctrl-C asked for it. A program that ended oddly may have got the same
    /// Ctrl-C, so this is also asked before blaming one.
    pub(super) fn if_interrupted() -> Result<(), Self> {
        signals::aborted_by().map_or(Ok(()), |signal| Err(Self::Interrupted(signal)))
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong { .. } => exit::VERIFY,
            Self::Interrupted(signal) => common::error::signal_exit_code(*signal),
            _ => exit::TROUBLE,
        }
    }
}
