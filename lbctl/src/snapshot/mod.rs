//! What a directory's instance is at one moment: who is there, and what its ledger, its queues and its files say.
//! [`Onlooker`] makes one.

mod onlooker;
mod processes;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::grammar::message_id::MessageId;
use common::ledger::cell::HandState;
use serde::{Serialize, Serializer};

pub use onlooker::Onlooker;

/// The version of the JSON that a snapshot is printed as.
pub const FORMAT_VERSION: u32 = 1;

/// An instance as it was at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The directory, as it was named.
    pub directory: PathBuf,
    /// What to say first of it.
    pub state: State,
    /// Bytes of the log; nothing: there is none.
    pub log_bytes: Option<u64>,
    /// The load balancer.
    pub balancer: Balancer,
    /// Whether a client is there that may submit more.
    pub client_is_open: bool,
    /// The session that is not finished.
    pub session: Option<Session>,
    /// The session's workers, or those that wait for one.
    pub workers: Vec<Worker>,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A load balancer runs.
    Running,
    /// No load balancer runs, and a session is not finished.
    Unfinished,
    /// The log ends inside a session, but there is no ledger: after a reboot, or in another IPC namespace.
    LedgerMissing,
    /// No load balancer runs, and all that was submitted is finished.
    Finished,
}

/// The load balancer.
#[derive(Clone, Debug, Serialize)]
pub struct Balancer {
    /// N of the one that runs.
    pub workers: Option<u32>,
    /// Whether one runs.
    #[serde(flatten)]
    pub process: Process,
}

/// Whether somebody has a role, and which process that is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Process {
    /// Nobody has it.
    NotRunning,
    /// It goes on.
    Running(Seen),
    /// It was stopped by a signal, and goes on with SIGCONT.
    Stopped(Seen),
    /// It runs, but is another user's, or in another PID namespace.
    Hidden,
}

/// A process that can be seen.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seen {
    /// Its id.
    pub pid: i32,
    /// When it was started.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// How long ago that was.
    pub seconds: f64,
}

impl Process {
    /// Whether somebody has the role.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !matches!(self, Self::NotRunning)
    }

    /// Which process that is, if that can be seen.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        match self {
            Self::Running(seen) | Self::Stopped(seen) => Some(*seen),
            Self::NotRunning | Self::Hidden => None,
        }
    }
}

/// A session that is not finished.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// 16 hexadecimal digits, with which `LB_ID` begins.
    pub id: String,
    /// Whether more is accepted in it.
    pub state: SessionState,
    /// When it began, or was read back from the log.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// How long ago that was.
    pub seconds: f64,
    /// N, once a load balancer has come.
    pub workers: Option<u32>,
    /// Submissions accepted.
    pub submissions: u64,
    /// Messages accepted: the sum of their counts.
    pub accepted: u64,
    /// Messages that the load balancer has received.
    pub received: u64,
    /// Messages executed, the dead ones included.
    pub executed: u64,
    /// Messages logged to their last line.
    pub logged: u64,
    /// Messages whose execution failed for good.
    pub dead: u64,
    /// Accepted, and not executed.
    pub backlog: u64,
    /// Bytes of the ring that unfinished submissions take.
    pub ring_bytes: u64,
    /// Bytes that it has.
    pub ring_bytes_max: u64,
}

/// Whether more is accepted in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It is.
    Open,
    /// It is not: the session comes to its end.
    Closing,
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
pub struct Worker {
    /// Its number.
    pub worker: u32,
    /// Whether it runs.
    #[serde(flatten)]
    pub process: Process,
    /// Messages that it has executed in this session.
    pub executed: u64,
    /// Messages of its share that it has not executed.
    pub backlog: u64,
    /// The message that it has begun and not finished.
    pub in_hand: Option<InHand>,
    /// Its message queue.
    pub queue: Option<Queue>,
}

/// A message that a worker with a COMMAND has in hand.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InHand {
    /// What `LB_ID` is.
    pub id: MessageId,
    /// `running`; `pausing` before the next attempt; `left` by a worker that died.
    pub state: HandState,
    /// Which attempt it is in, from 1.
    pub attempt: u32,
    /// When that began.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// How long ago that was.
    pub seconds: f64,
    /// How many attempts have failed.
    pub failures: u16,
}

/// A message queue.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Queue {
    /// Its id.
    pub id: i32,
    /// Frames in it, each of several messages.
    pub frames: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that it takes.
    pub bytes_max: u64,
}

/// A moment that somebody has written down, and how many seconds ago it was. It is an allegation: what cannot be
/// printed is taken for 1970, and what is to come for now.
fn ago(since_1970: Duration) -> (SystemTime, f64) {
    const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
    let since = UNIX_EPOCH + Some(since_1970).filter(|&it| it < YEAR_10000).unwrap_or_default();
    (since, SystemTime::now().duration_since(since).unwrap_or_default().as_secs_f64())
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_moment_is_too_far_away_to_be_printed() {
        for since in [Duration::ZERO, Duration::from_micros(u64::MAX), Duration::MAX] {
            let (since, seconds) = ago(since);
            assert!(humantime::format_rfc3339_micros(since).to_string().starts_with("1970-"));
            assert!(seconds > 0.0);
        }
        let to_come =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(60);
        assert!(ago(to_come).1.abs() < f64::EPSILON);
    }
}
