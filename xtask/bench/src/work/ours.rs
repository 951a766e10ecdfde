//! Our whole job with a COMMAND, from the client's start to the totals.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::program::work::Work;
use tests::{Binaries, Profile, Sandbox};

use super::{NAP_SECONDS, Task};
use crate::case::Case;
use crate::failure::Failure;
use crate::job::Job;
use crate::page_cache;

/// The worker's examples: this workspace's, in a release build.
pub(super) struct Handlers {
    answer: PathBuf,
    sleeper: PathBuf,
}

impl Handlers {
    pub(super) fn build() -> Result<Self, Failure> {
        let example = |name| {
            Binaries::build_example("worker", name, Profile::Release).map_err(Failure::Build)
        };
        Ok(Self { answer: example("answer")?, sleeper: example("sleeper")? })
    }
}

impl Task {
    /// What its COMMAND is.
    pub(super) fn command(self, handlers: &Handlers) -> Vec<OsString> {
        match self {
            Self::True => vec!["/bin/true".into()],
            Self::Sleep => vec!["sleep".into(), NAP_SECONDS.into()],
            Self::Answer => vec![OsString::from(&handlers.answer)],
            Self::Sleeper => vec![OsString::from(&handlers.sleeper)],
        }
    }

    fn work(self, handlers: &Handlers) -> Work {
        let lines = matches!(self, Self::Answer | Self::Sleeper);
        let command = self.command(handlers);
        Work { lines, command, grace: Duration::from_secs(5), ..Work::default() }
    }
}

/// Exit code 0 says that no message is dead.
pub(super) fn run(
    task: Task,
    case: &Case,
    binaries: &Binaries,
    handlers: &Handlers,
) -> Result<Duration, Failure> {
    let sandbox = Sandbox::new(binaries);
    page_cache::leave_pages(&sandbox.dir(), case.log_len())
        .map_err(Failure::system("a temp file"))?;
    let mut job = Job::new(&sandbox, *case)?;
    job.balancer.args(task.work(handlers).to_args()).stdout(Stdio::null());
    job.run()
}
