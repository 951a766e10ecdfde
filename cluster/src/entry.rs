//! What is in the stream, and how it is written. Whatever is read there is an allegation: what cannot be read is no entry
//! of ours, on every host alike.
//!
//! | subject | holds | appended on condition |
//! |---|---|---|
//! | `cfg` | the session's number, and N | chained |
//! | `in.RUN` | submissions of one run of a client | chained: accepted once it is in the stream |
//! | `run.K` | who holds worker number K, and how much it has executed | chained: one writer for each K |
//! | `dead.K` | a dead letter | chained, before `run.K` counts its message |
//! | `end` | the totals | nothing has come in between |
//!
//! *Chained*: the last entry of the subject is the one that its writer knows.

use std::fmt::{self, Display};
use std::str::FromStr;

use common::dead::Letter;
use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use serde::{Deserialize, Serialize};

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    Config,
    /// Of one run of a client.
    In(String),
    Run(WorkerId),
    Dead(WorkerId),
    End,
    /// None of ours.
    Other(String),
}

/// A session's number, which no other session has: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct SessionNumber(pub(crate) u64);

/// How the session is to be: the first one after the end of another counts. The same again only asks for the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) session: SessionNumber,
    pub(crate) workers: u32,
    /// The end of the session before; 0: there was none. One that comes late is of no other session.
    pub(crate) after: u64,
}

/// Who holds a worker's number, and how much it has executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The session in which it has executed so many; none before there is one.
    pub(crate) session: Option<SessionNumber>,
    /// One more each time the number changes hands.
    pub(crate) generation: u64,
    /// None: it was given back.
    pub(crate) holder: Option<String>,
    /// A number of this process alone: no two writers write the same.
    pub(crate) life: u64,
    pub(crate) executed: u64,
}

/// A letter, of a holder of that generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dead {
    pub(crate) session: SessionNumber,
    pub(crate) generation: u64,
    pub(crate) letter: Letter,
}

/// The session's totals, of workers 1 to N.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) session: SessionNumber,
    pub(crate) totals: Vec<u64>,
}

/// Submissions of a client, a line each. The line before them says whether more are to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines<'a> {
    pub(crate) more: bool,
    pub(crate) submissions: Vec<Submission<&'a str>>,
}

const MORE: &[u8] = b"more\n";
const LAST: &[u8] = b"last\n";

/// Begins an entry with submissions.
pub(crate) fn begin_lines(payload: &mut Vec<u8>, more: bool) {
    payload.clear();
    payload.extend_from_slice(if more { MORE } else { LAST });
}

/// Adds one.
pub(crate) fn add_line(payload: &mut Vec<u8>, submission: &Submission<&str>) {
    submission.append_to(payload);
    payload.push(b'\n');
}

impl<'a> Lines<'a> {
    /// Reads an entry. A line that is no submission makes it none.
    pub(crate) fn read(payload: &'a [u8]) -> Option<Self> {
        let more = payload.starts_with(MORE);
        let lines = payload.strip_prefix(if more { MORE } else { LAST })?;
        if lines.is_empty() {
            return Some(Self { more, submissions: Vec::new() });
        }
        let lines = lines.strip_suffix(b"\n")?.split(|&byte| byte == b'\n');
        let submissions = lines.map(|line| Submission::parse(line).ok()).collect::<Option<_>>()?;
        Some(Self { more, submissions })
    }
}

/// Reads an entry in JSON.
pub(crate) fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    serde_json::from_slice(payload).ok()
}

/// Writes one.
pub(crate) fn write(entry: &impl Serialize) -> Vec<u8> {
    // Neither maps with other keys than strings nor numbers that are none are in it.
    serde_json::to_vec(entry).unwrap_or_default()
}

impl Config {
    /// N, if it is one.
    pub(crate) fn workers(&self) -> Option<Workers> {
        Workers::new(self.workers).ok()
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("cfg"),
            Self::In(run) => write!(f, "in.{run}"),
            Self::Run(worker) => write!(f, "run.{worker}"),
            Self::Dead(worker) => write!(f, "dead.{worker}"),
            Self::End => f.write_str("end"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Subject {
    fn from(name: &str) -> Self {
        let of_worker = |digits: &str| {
            let worker = digits.parse::<WorkerId>().ok();
            worker.filter(|worker| worker.to_string() == digits)
        };
        let known = match name.split_once('.') {
            None if name == "cfg" => Some(Self::Config),
            None if name == "end" => Some(Self::End),
            Some(("in", run)) if !run.contains('.') => Some(Self::In(run.to_owned())),
            Some(("run", digits)) => of_worker(digits).map(Self::Run),
            Some(("dead", digits)) => of_worker(digits).map(Self::Dead),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

impl Display for SessionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for SessionNumber {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text.len() == 16 && !text.contains('+');
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_plain);
        number.map(Self).ok_or("a session's number has 16 hexadecimal digits")
    }
}

impl From<SessionNumber> for String {
    fn from(number: SessionNumber) -> Self {
        number.to_string()
    }
}

impl TryFrom<String> for SessionNumber {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("cfg")]
    #[case("end")]
    #[case("in.a1")]
    #[case("run.256")]
    #[case("dead.1")]
    #[case("run.257")]
    #[case("run.01")]
    #[case("in.a.b")]
    #[case("other")]
    fn subjects_are_read_back(#[case] name: &str) {
        let subject = Subject::from(name);
        assert_eq!(subject.to_string(), name);
        let is_other = ["run.257", "run.01", "in.a.b", "other"].contains(&name);
        assert_eq!(matches!(subject, Subject::Other(_)), is_other, "{name}");
    }

    #[test]
    fn lines_are_read_back_and_nothing_else_is() {
        let mut payload = Vec::new();
        begin_lines(&mut payload, true);
        assert_eq!(Lines::read(&payload).map(|lines| lines.submissions.len()), Some(0));
        for line in ["a;1", "b;c;2"] {
            add_line(&mut payload, &Submission::parse(line.as_bytes()).unwrap());
        }
        assert_eq!(payload, b"more\na;1\nb;c;2\n");
        let lines = Lines::read(&payload).unwrap();
        assert!(lines.more);
        assert_eq!(lines.submissions.len(), 2);
        for wrong in
            ["", "more", "a;1\n", "last\na;1", "last\na;0\n", "last\n\n", "more\na\u{7};1\n"]
        {
            assert_eq!(Lines::read(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
