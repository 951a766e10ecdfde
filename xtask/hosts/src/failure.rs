//! Why a run ended early: something could not be done, or something went on for too long.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use common::error::exit;

/// How long is slept between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    /// A program of the system's, or one of ours that only looks.
    #[error("`{command}`: {why}")]
    Command { command: String, why: String },
    /// What is tested cannot be built.
    #[error("{0}")]
    Build(String),
    #[error(
        "there is no nats-server: `.ci/nats-server` gets one; or name one of at least 2.12 in $NATS_SERVER"
    )]
    NoServer,
    #[error(
        "{program} is {version}, and its clusters cannot be relied on: `.ci/nats-server` gets a newer one"
    )]
    OldServer { program: String, version: String },
    #[error("of the kinds that --only names, none can be had on loopback ports")]
    NoKind,
    /// The product has not done what it is to do.
    #[error("{0}")]
    Broken(String),
    /// The report cannot be printed.
    #[error("{0}")]
    Report(common::error::Error),
}

impl Failure {
    /// For `map_err`: which object it was.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::System { what, source: error.into() }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Broken(_) => exit::VERIFY,
            Self::NoKind => exit::USAGE,
            _ => exit::TROUBLE,
        }
    }
}

/// Looks again and again until it sees something; an error of the product's if it does not in time.
pub(crate) fn until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        match look()? {
            Some(seen) => return Ok(seen),
            None if start.elapsed() > limit => {
                let seconds = limit.as_secs();
                return Err(Failure::Broken(format!("{what}: not within {seconds} s")));
            }
            None => thread::sleep(BETWEEN_LOOKS),
        }
    }
}

/// For conditions.
pub(crate) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}
