//! One program of a play, stepped or not.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::Process;

use super::stepper::Stepped;
use super::steps::{Steps, Target};
use crate::witness;

/// A running program, stepped or not.
pub(crate) enum Actor {
    Plain(Process),
    Stepped { stepped: Stepped, target: Target, stdout: PathBuf },
}

impl Actor {
    /// How it ended, if it has. `with_everyone`: whoever is killed is killed together with all others.
    pub(crate) fn try_end(&mut self, with_everyone: bool) -> io::Result<Option<End>> {
        let (stepped, target, stdout) = match self {
            Self::Plain(process) => {
                return Ok(process.wait(Duration::ZERO).map(|ended| End {
                    struck: false,
                    code: ended.status.code(),
                    stdout: ended.stdout,
                    stderr: ended.stderr,
                    steps: None,
                }));
            }
            Self::Stepped { stepped, target, stdout } => (stepped, target, stdout),
        };
        let Some(steps) = stepped.try_wait().transpose()? else { return Ok(None) };
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        // A kill of everyone is one of the load balancer too, whose worker is stepped.
        let itself = *target == Target::Itself || with_everyone;
        Ok(Some(End {
            struck: itself && steps.struck.is_some(),
            code: steps.code,
            stdout: read(stdout.clone()),
            stderr: read(stdout.with_extension("stderr")),
            steps: Some(steps),
        }))
    }

    /// After a call of it failed, it made a ledger beside one that was there.
    pub(crate) fn made_second_ledger(&self) -> bool {
        matches!(self, Self::Stepped { stepped, .. } if stepped.made_second_ledger())
    }

    /// Sends SIGTERM, once the program handles it. Returns whether it does.
    pub(crate) fn terminate(&self) -> bool {
        let pid = match self {
            Self::Plain(process) => Some(Pid::from_raw(process.pid())),
            Self::Stepped { stepped, .. } => stepped.pid(),
        };
        let ready = pid.filter(|&pid| witness::handles_sigterm(pid));
        ready.is_some_and(|pid| kill(pid, Signal::SIGTERM).is_ok())
    }
}

/// How an actor ended.
pub(crate) struct End {
    /// It was killed itself, as it should be.
    pub(crate) struck: bool,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What stepping showed, if it was stepped.
    pub(crate) steps: Option<Steps>,
}
