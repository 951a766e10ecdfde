//! How the handler `unruly` behaves in an attempt: a function of a seed, the message and the attempt, so that who
//! checks it knows that, too.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a handler is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mood {
    /// Draws what it does.
    pub seed: u64,
    /// It is kept, and answers lines.
    pub lines: bool,
    /// What `--timeout` is: without one it always ends.
    pub timeout: Option<Duration>,
    /// What it starts may close the descriptor with the attempt's lock.
    pub closes: bool,
    /// And that may have no environment either.
    pub bare: bool,
}

/// What it does in an attempt. What fails may leave processes that would live for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    /// The work, for so many milliseconds.
    Work(u64),
    /// Has a child do the work.
    Delegate(Leaving),
    /// The work; and leaves a child that ends soon.
    WorkAndLeave(Leaving),
    /// Says that it is alive, then does the work.
    SayAlive(u64),
    /// Fails: exit code 1, `retry`.
    Fail,
    /// Fails for good: exit code 65, `dead`.
    GiveUp,
    /// Ends, and leaves a child.
    FailAndLeave(Leaving),
    /// Answers what is no answer.
    AnswerWrong,
    /// SIGKILL.
    KillItself,
    /// SIGKILL, to its worker; and lives on, or leaves a child that does.
    KillWorker(Option<Leaving>),
    /// SIGSTOP.
    StopItself,
    /// Takes longer than allowed, perhaps without heeding SIGTERM.
    Dawdle {
        /// SIGTERM is blocked.
        stubborn: bool,
    },
}

/// A child that has the message's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// How long it lives.
    pub ms: u64,
    /// It leaves its parent and its process group.
    pub daemon: bool,
    /// It closes all other descriptors.
    pub closes: bool,
    /// Its environment is empty.
    pub bare: bool,
    /// It does not heed SIGTERM.
    pub stubborn: bool,
}

impl Mood {
    /// What it does in this attempt.
    #[must_use]
    pub fn whim(&self, text: &str, index: u32, attempt: u32) -> Whim {
        let mut dice = Dice::new(self.seed, text, index, attempt);
        let soon = [0, 0, 1, 5, 30][dice.throw(5) as usize];
        let long = [5, 50, 10_000][dice.throw(3) as usize];
        let mut leaving = |ms, daemon| {
            let closes = self.closes && dice.throw(2) == 0;
            let bare = self.bare && closes && dice.throw(2) == 0;
            Leaving { ms, daemon, closes, bare, stubborn: dice.throw(4) == 0 }
        };
        let (short, left, gone) = (leaving(soon, false), leaving(long, false), leaving(long, true));
        let delegated = leaving(soon, true);
        let orphan = (dice.throw(2) == 0).then_some(Leaving { ms: 10_000, ..gone });
        if Dice::new(self.seed, text, index, 0).throw(60) == 0 {
            return Whim::KillWorker(orphan); // in every attempt
        }
        let with_timeout = |whim| if self.timeout.is_some() { whim } else { Whim::Fail };
        match dice.throw(100) {
            0..40 => Whim::Work(0),
            40..52 => Whim::Work(soon),
            52..58 => Whim::Delegate(short),
            58..64 => Whim::Delegate(delegated),
            64..68 if !self.lines => Whim::WorkAndLeave(short),
            64..68 => Whim::SayAlive(soon),
            68..75 => Whim::Fail,
            75..78 => Whim::GiveUp,
            78..84 => Whim::FailAndLeave(left),
            84..90 => Whim::FailAndLeave(gone),
            90..93 if self.lines => Whim::AnswerWrong,
            90..95 => Whim::KillItself,
            95..96 => Whim::KillWorker(orphan),
            96..98 => with_timeout(Whim::StopItself),
            _ => with_timeout(Whim::Dawdle { stubborn: dice.throw(2) == 0 }),
        }
    }

    /// Whether it may be that an attempt in this whim ended so, as a dead letter says it.
    #[must_use]
    pub fn explains(&self, whim: Whim, outcome: &str) -> bool {
        // On a busy machine anything may take too long.
        if self.timeout.is_some() && outcome.starts_with("timed out") {
            return true;
        }
        let (once, lines) = match whim {
            Whim::Fail => ("exit code 1", "retry"),
            Whim::GiveUp => ("exit code 65", "dead"),
            Whim::FailAndLeave(_) => ("exit code 1", "ended without an answer: exit code 1"),
            Whim::KillItself => {
                ("signal 9 (SIGKILL)", "ended without an answer: signal 9 (SIGKILL)")
            }
            Whim::AnswerWrong if self.lines => ("", "wrong answer: "),
            _ => return false,
        };
        outcome.starts_with(if self.lines { lines } else { once })
    }
}

/// Throws that follow from what was given.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, text: &str, index: u32, attempt: u32) -> Self {
        // FNV-1a: the same on every machine, and with every compiler.
        let numbers = [seed, index.into(), attempt.into()].map(u64::to_le_bytes);
        let bytes = numbers.as_flattened().iter().chain(text.as_bytes());
        let step = |sum: u64, &byte: &u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// A number below so many: `SplitMix64`.
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % sides
    }
}

/// As an argument.
impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout = self.timeout.map_or(0, |timeout| timeout.as_millis());
        let [lines, closes, bare] = [self.lines, self.closes, self.bare].map(u8::from);
        write!(f, "{}:{lines}:{timeout}:{closes}:{bare}", self.seed)
    }
}

impl FromStr for Mood {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[seed, lines, timeout, closes, bare]) => Ok(Self {
                seed,
                lines: lines == 1,
                timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
                closes: closes == 1,
                bare: bare == 1,
            }),
            _ => Err(format!("{text}: not SEED:LINES:TIMEOUT:CLOSES:BARE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mood_is_read_back_and_draws_the_same_again() {
        for (timeout, lines) in [(None, false), (Some(Duration::from_millis(150)), true)] {
            let mood = Mood { seed: u64::MAX, lines, timeout, closes: lines, bare: lines };
            let again: Mood = mood.to_string().parse().unwrap();
            assert_eq!(again, mood);
            let whims = |mood: Mood| [1, 2, 3, 4, 5, 6, 7, 8].map(|n| mood.whim("a", n, 1));
            assert_eq!(whims(again), whims(mood));
            assert_ne!(whims(again), whims(Mood { seed: 1, ..mood }));
        }
        assert!("1:2".parse::<Mood>().is_err());
    }
}
