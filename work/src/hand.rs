//! The message in hand: how often it was tried, and what follows from how an attempt ended. The next life of this
//! worker reads it in the ledger.
//!
//! | an attempt | is | so the message |
//! |---|---|---|
//! | ends with exit code 0, `ok` | done | counts |
//! | ends with another one, by a signal, takes too long, `retry` | a failure | is tried again after a pause; after the last retry it is dead |
//! | ends with exit code 65 or 100, `dead` | the last one | is dead |
//! | is interrupted by the death of its worker | a death | is tried again; after the third it is dead |
//! | is interrupted by a signal to the worker | neither | is tried again, in the worker's next life |
//! | cannot be started, or ends with exit code 126 or 127 | none | stays as it was, and the worker ends with an error |

use std::fmt::{self, Display};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::ledger::cell::{HandState, InHand};
use common::program::work::Work;
use nix::sys::signal::Signal;

/// A message in which its worker died so often is dead.
const DEATHS_MAX: u8 = 3;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exit(i32),
    Signal(i32),
    TimedOut(Duration),
    /// What COMMAND answered, and the reason it gave.
    Answer(Answer, String),
    /// Its answer was none.
    Wrong(String),
}

/// What COMMAND may answer with `--lines`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    Retry,
    Dead,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    /// After a pause.
    Again(Duration),
    Dead,
    /// COMMAND cannot be run.
    Stop,
}

/// What happens to the message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    AttemptBegins,
    /// COMMAND could not be run, so it was none.
    NeverBegan,
    Succeeds,
    Fails,
    /// COMMAND says that no further attempt can succeed.
    IsGivenUp,
    /// The worker is to end.
    IsInterrupted,
    WorkerDied,
}

/// What is counted then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Nothing,
    Attempt,
    /// The attempt that was counted before.
    NoAttempt,
    Failure,
    Death,
}

/// The state of the message in hand, and what happens to it: its next state, and what is counted.
fn table(state: HandState, event: Event) -> (HandState, Count) {
    use HandState::{Left, Pausing, Running};

    match (state, event) {
        (_, Event::AttemptBegins) => (Running, Count::Attempt),
        (_, Event::NeverBegan) => (Left, Count::NoAttempt),
        (_, Event::Succeeds | Event::IsInterrupted) | (Left | Pausing, Event::WorkerDied) => {
            (Left, Count::Nothing)
        }
        (_, Event::Fails) => (Pausing, Count::Failure),
        (_, Event::IsGivenUp) => (Pausing, Count::Nothing), // its letter may have to wait for room
        (Running, Event::WorkerDied) => (Left, Count::Death),
    }
}

/// How often a message was tried, and how that went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hand(pub InHand);

impl Hand {
    /// When a life of this worker begins: the one before it may have died in an attempt.
    pub fn inherit(&mut self) {
        self.happens(Event::WorkerDied);
    }

    fn happens(&mut self, event: Event) {
        let it = &mut self.0;
        let (state, count) = table(it.state, event);
        it.state = state;
        match count {
            Count::Nothing => {}
            Count::Attempt => it.attempt = it.attempt.saturating_add(1),
            Count::NoAttempt => it.attempt = it.attempt.saturating_sub(1),
            Count::Failure => it.failures = it.failures.saturating_add(1),
            Count::Death => it.deaths = it.deaths.saturating_add(1),
        }
    }

    /// Begins an attempt.
    pub(crate) fn begin(&mut self, since_ms: u64) {
        self.0.since_ms = since_ms;
        self.happens(Event::AttemptBegins);
    }

    /// Interrupts it: neither a failure nor a death.
    pub(crate) fn leave(&mut self) {
        self.happens(Event::IsInterrupted);
    }

    /// It never began.
    pub(crate) fn withdraw(&mut self) {
        self.happens(Event::NeverBegan);
    }

    pub(crate) fn is_poison(&self) -> bool {
        self.0.deaths >= DEATHS_MAX
    }

    /// Judges how an attempt ended.
    pub(crate) fn end(&mut self, ended: &Ended, work: &Work) -> Next {
        let event = match ended {
            Ended::Exit(0) | Ended::Answer(Answer::Ok, _) => Event::Succeeds,
            Ended::Exit(126 | 127) => Event::NeverBegan,
            Ended::Exit(65 | 100) | Ended::Answer(Answer::Dead, _) => Event::IsGivenUp,
            _ => Event::Fails,
        };
        self.happens(event);
        match event {
            Event::Succeeds => Next::Done,
            Event::NeverBegan => Next::Stop,
            Event::Fails if self.0.failures <= work.retries => {
                Next::Again(work.pause_after(self.0.failures))
            }
            _ => Next::Dead,
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64 // of some hundred million years
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        // What has ended has one of both.
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or_default()), Self::Exit)
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
            Self::TimedOut(after) => write!(f, "timed out after {after:?}"),
            Self::Answer(answer, reason) => {
                let answer = match answer {
                    Answer::Ok => "ok",
                    Answer::Retry => "retry",
                    Answer::Dead => "dead",
                };
                let colon = if reason.is_empty() { "" } else { ": " };
                write!(f, "{answer}{colon}{reason}")
            }
            Self::Wrong(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn work(retries: u16) -> Work {
        Work { retries, backoff: Duration::from_secs(1), ..Work::default() }
    }

    #[rstest]
    #[case(Ended::Exit(0), Next::Done)]
    #[case(Ended::Answer(Answer::Ok, String::new()), Next::Done)]
    #[case(Ended::Exit(1), Next::Again(Duration::from_secs(1)))]
    #[case(Ended::Exit(75), Next::Again(Duration::from_secs(1)))]
    #[case(Ended::Signal(9), Next::Again(Duration::from_secs(1)))]
    #[case(Ended::TimedOut(Duration::from_secs(1)), Next::Again(Duration::from_secs(1)))]
    #[case(Ended::Answer(Answer::Retry, String::new()), Next::Again(Duration::from_secs(1)))]
    #[case(Ended::Wrong(String::new()), Next::Again(Duration::from_secs(1)))]
    #[case(Ended::Exit(65), Next::Dead)]
    #[case(Ended::Exit(100), Next::Dead)]
    #[case(Ended::Answer(Answer::Dead, String::new()), Next::Dead)]
    #[case(Ended::Exit(126), Next::Stop)]
    #[case(Ended::Exit(127), Next::Stop)]
    fn the_table(#[case] ended: Ended, #[case] next: Next) {
        let mut hand = Hand::default();
        hand.begin(0);
        assert_eq!(hand.end(&ended, &work(1)), next);
        let tried = u32::from(next != Next::Stop);
        assert_eq!(hand.0.attempt, tried, "a stop counts nothing");
        assert_ne!(hand.0.state, HandState::Running);
        if matches!(next, Next::Again(_)) {
            hand.begin(0);
            assert_eq!(hand.end(&ended, &work(1)), Next::Dead, "after the last retry");
        }
    }

    #[test]
    fn a_death_is_no_failure_and_the_third_is_the_last() {
        let mut hand = Hand::default();
        for _ in 0..3 {
            assert!(!hand.is_poison());
            hand.begin(0);
            hand.0.deaths += 1;
        }
        assert!(hand.is_poison());
        assert_eq!((hand.0.attempt, hand.0.failures), (3, 0));
    }
}
