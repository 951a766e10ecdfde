//! What is stepped, where it is to be struck, and what stepping showed.

use nix::sys::signal::Signal;
use tests::ptrace::End;

use super::made::Made;
use super::point::{At, Moment};

/// Which process is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The program that is started.
    Itself,
    /// The first life of this worker, a child of the program that is started.
    ChildWorker(u32),
    /// The first COMMAND of this worker, a child of a child.
    Handler(u32),
}

/// Where to strike it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// Nowhere: then its calls are counted.
    pub(crate) at: Option<(At, Moment)>,
    /// All other processes of the directory are killed first, while this one is stopped.
    pub(crate) with_everyone: bool,
}

/// What stepping showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    /// System calls that the stepped process entered.
    pub(crate) calls: u32,
    /// How many of them wrote to the log, or to the dead letters.
    pub(crate) writes: u32,
    /// The call with which it opened the directory: before it, it had touched nothing of anyone's.
    pub(crate) opened_at: Option<u32>,
    /// If it was to be struck nowhere: its calls from main on, in order.
    pub(crate) made: Vec<Made>,
    /// It was killed where it should be, and this was so then.
    pub(crate) struck: Option<Struck>,
    /// The load balancer was killed and came again while it stood still.
    pub(crate) outlived: bool,
    /// A call of it was made to fail.
    pub(crate) failed: bool,
    /// How the stepped process ended, which may be a child of the program that was started.
    pub(crate) own_end: Option<End>,
    /// Exit code of the program that was started, if it was not killed.
    pub(crate) code: Option<i32>,
}

/// What was so when a process was killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struck {
    /// It left a transaction committed and not finished.
    pub(crate) pending: bool,
    /// It left a write half done.
    pub(crate) torn: bool,
}

/// A panic's exit code.
const PANIC: i32 = 101;

impl Steps {
    /// What was to be done to it was done.
    pub(crate) fn is_reached(&self) -> bool {
        self.struck.is_some() || self.outlived || self.failed
    }

    /// The stepped process ended with an error.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.own_end, Some(End::Code(1..)))
    }

    /// What no process may do, whatever is done to it. A COMMAND may be ended by any signal.
    pub(crate) fn look_for_faults(&self, is_handler: bool) -> Result<(), String> {
        match self.own_end {
            Some(End::Code(PANIC)) => Err("the stepped process has panicked".to_owned()),
            // A worker's load balancer may end it so.
            Some(End::Signal(signal))
                if signal != Signal::SIGKILL && self.struck.is_none() && !is_handler =>
            {
                Err(format!("the stepped process was killed by {signal}"))
            }
            _ => Ok(()),
        }
    }
}
