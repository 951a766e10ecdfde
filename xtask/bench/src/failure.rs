//! Why a measurement ended early: something went wrong, or was waited for in vain.

use std::io;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use common::error::exit;

/// How long may be waited for anything, but for the end of a program.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    #[error("`{name}` ended with {status}: {stderr}")]
    Program { name: String, status: ExitStatus, stderr: String },
    #[error("{0} has not happened within {seconds} s", seconds = PATIENCE.as_secs())]
    TooLate(&'static str),
    #[error("{case}: its log is wrong: {why}")]
    Wrong { case: String, why: String },
    /// What is measured cannot be built.
    #[error("{0}")]
    Build(String),
    /// The report cannot be written.
    #[error("{0}")]
    Report(common::error::Error),
}

impl Failure {
    /// For `map_err`: which object it was.
    pub(super) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::System { what, source: error.into() }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong { .. } => exit::VERIFY,
            _ => exit::TROUBLE,
        }
    }
}

/// Looks again and again, yielding in between, until it sees something.
pub(super) fn until<T>(
    what: &'static str,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        match look() {
            Some(seen) => return Ok(seen),
            None if start.elapsed() > PATIENCE => return Err(Failure::TooLate(what)),
            None => thread::yield_now(),
        }
    }
}
