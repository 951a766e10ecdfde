//! What a check of a log comes to: for `--json` as it is, for people through `report`.
#![expect(missing_docs, reason = "most fields are what they are called")]

use std::fmt;

use serde::Serialize;

/// Lists hold so many entries; beyond that only their number is shown.
const LISTED_MAX: usize = 100;

/// Everything that is to be said about a log.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Nothing at all is wrong.
    pub passed: bool,
    /// What the last session lacks, if it is right so far, but not finished.
    pub unfinished: Option<String>,
    pub bytes: u64,
    pub lines: u64,
    pub submissions: u64,
    pub messages: u64,
    /// The first line that is wrong in any way.
    pub first_wrong: Option<Fault>,
    /// Lines that are none of the five kinds.
    pub foreign: Listed<Fault>,
    /// The last line, if it has no newline.
    pub torn: Option<Fault>,
    /// Sessions whose lines are not in canonical order.
    pub damaged_sessions: u64,
    pub sessions: Listed<Session>,
}

/// The first entries of a list, and how many there are.
#[derive(Debug, Serialize)]
pub struct Listed<T> {
    pub count: u64,
    pub first: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T> Listed<T> {
    pub(super) fn push(&mut self, entry: T) {
        self.count += 1;
        if self.first.len() < LISTED_MAX {
            self.first.push(entry);
        }
    }
}

/// How a line is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is none of the five kinds of line.
    Foreign,
    /// Another line was due.
    Unexpected,
    /// It has no newline.
    Torn,
}

/// A wrong line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its number, from 1.
    pub line: u64,
    pub kind: Kind,
    pub expected: String,
    pub found: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, expected, .. } = self;
        let found = self.found.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Foreign => {
                write!(
                    f,
                    "line {line}: `{found}` is none of the five kinds of line; expected {expected}"
                )
            }
            Kind::Unexpected => write!(f, "line {line}: expected {expected}, found `{found}`"),
            Kind::Torn => write!(f, "line {line}: `{found}` has no newline; expected {expected}"),
        }?;
        difference(expected, found).map_or(Ok(()), |what| write!(f, " ({what})"))
    }
}

/// In what a line differs from the expected one, if people cannot see that.
fn difference(expected: &str, found: &str) -> Option<String> {
    let names = |c: char| format!("`{}` (U+{:04X})", c.escape_default(), u32::from(c));
    // As `visible` shows it.
    if found.ends_with("\\u{d}") {
        return Some("it ends with a carriage return (U+000D), as DOS ends lines".to_owned());
    }
    let is_blank = |c: &char| c.is_whitespace();
    if let Some(last) = found.chars().next_back().filter(is_blank) {
        return Some(format!("it ends with {}", names(last)));
    }
    // As it is expected, in quotes.
    let expected = expected.split('`').nth(1)?;
    let differ = |(_, (a, b)): &(usize, (char, char))| a != b;
    let mut places = (0..).zip(expected.chars().zip(found.chars())).filter(differ);
    let (place, (should, is)) = places.next()?;
    let is_similar = expected.chars().count() == found.chars().count()
        && !is.is_ascii()
        && places.all(|(_, (_, is))| !is.is_ascii());
    is_similar.then(|| format!("character {} is {}, not `{should}`", place + 1, names(is)))
}

/// One session of the log.
#[derive(Debug, Serialize)]
pub struct Session {
    /// From 1.
    pub number: u64,
    pub first_line: u64,
    pub last_line: u64,
    pub submissions: u64,
    pub messages: u64,
    /// Messages executed by each worker, from worker 1 on.
    pub shares: Vec<u64>,
    /// Where it leaves the canonical order.
    pub fault: Option<Fault>,
    /// What is in it regardless of order; only where it leaves the canonical order.
    pub tally: Option<Tally>,
}

/// What a session holds, regardless of the order of its lines.
#[derive(Debug, Serialize)]
pub struct Tally {
    pub submissions: u64,
    pub messages: u64,
    /// Client lines without count, and counts without client line.
    pub half_submissions: u64,
    /// `Received` lines that are not there.
    pub received_missing: u64,
    /// `Received` lines that are there once too often, or of no submission.
    pub received_surplus: u64,
    /// Which these are.
    pub received: Listed<Span>,
    /// Each worker's lines are together, as where each writes through a buffer of its own.
    pub grouped_by_worker: bool,
    pub workers: Vec<WorkerTally>,
}

/// `Received` lines of one text, next to each other, that are missing or surplus.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub text: String,
    pub first: u32,
    pub last: u32,
    /// So many of each are missing …
    pub missing: u64,
    /// … or too many.
    pub surplus: u64,
}

/// One worker's lines.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct WorkerTally {
    pub worker: u32,
    /// Its fair share of the submitted messages.
    pub expected: u64,
    pub executed: u64,
    /// What its total says; the first, if there are several.
    pub total: Option<u64>,
    /// How many totals it has.
    pub totals: u64,
}

impl WorkerTally {
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.executed == self.expected && self.total == Some(self.expected) && self.totals == 1
    }
}

impl Tally {
    /// Every message was received exactly once.
    #[must_use]
    pub fn received_once(&self) -> bool {
        self.received_missing == 0 && self.received_surplus == 0 && self.half_submissions == 0
    }

    /// Nothing is lost or doubled, and every total is right: if anything is wrong, it is the order.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.received_once() && self.workers.iter().all(WorkerTally::is_right)
    }
}
