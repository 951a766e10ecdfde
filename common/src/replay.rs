//! The canonical order, as a machine that reads a log line by line and says what may come next.
//! `cargo xtask verify` judges logs with it, and a session whose IPC objects are lost is rebuilt with
//! it.
//!
//! Without its client lines, a session's log is a function of the submissions in their order: each
//! one's `Received` lines 1..count, then its `Executed` lines in rotation; at the end the totals. A
//! submission's two client lines stand together, anywhere before its first `Received` line.

mod due;
mod waiting;

use std::fmt;

use crate::line::Line;
use crate::rotation::{WorkerId, Workers};
use crate::submission::Submission;
use waiting::Waiting;

/// What a finished session came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Submissions accepted.
    pub submissions: u64,
    /// Messages of all submissions.
    pub messages: u64,
    /// Messages executed by each worker, from worker 1 on.
    pub shares: Vec<u64>,
}

/// A line that must not stand where it stands, or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is none of the five kinds of line.
    NotALine,
    /// Another line was due.
    Unexpected {
        /// What may stand there.
        expected: String,
    },
    /// The log ends in the middle of a session.
    Unfinished {
        /// What should come next.
        expected: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALine => f.write_str("this is none of the five kinds of line"),
            Self::Unexpected { expected } => write!(f, "expected {expected}"),
            Self::Unfinished { expected } => {
                write!(f, "the session is not finished; next should come {expected}")
            }
        }
    }
}

/// Reads lines, and knows how far the current session has come.
#[derive(Debug, Default)]
pub struct Replay {
    /// N, when it is prescribed for every session.
    prescribed: Option<Workers>,
    /// N of the current session, once it is known.
    workers: Option<Workers>,
    /// The text of a submission whose count line has not come yet.
    text: Option<String>,
    /// Submissions that are not written to their last line.
    waiting: Waiting,
    /// Lines of the first of them that have been read.
    line: u64,
    /// Messages of all submissions before it.
    base: u64,
    submissions: u64,
    messages: u64,
    totals: u32,
}

impl Replay {
    /// Begins at the start of a log; N is prescribed, or found out from each session's lines.
    #[must_use]
    pub fn new(workers: Option<Workers>) -> Self {
        Self { prescribed: workers, workers, ..Self::default() }
    }

    /// Reads one line, given without its `\n`. Returns the summary of the session that it ends or,
    /// where N was not known, that its predecessor has ended.
    pub fn push(&mut self, line: &[u8]) -> Result<Option<Summary>, Fault> {
        self.push_line(Line::parse_bytes(line).map_err(|_| Fault::NotALine)?)
    }

    fn push_line(&mut self, line: Line<'_>) -> Result<Option<Summary>, Fault> {
        let mut ended = None;
        if matches!(line, Line::Client { .. }) {
            ended = self.end_if_complete();
        }
        if !self.may_follow(line) {
            return Err(Fault::Unexpected { expected: self.expected() });
        }
        match line {
            Line::Client { text } => self.text = Some(text.to_owned()),
            Line::Count { count } => {
                let text = self.text.take().unwrap_or_default();
                self.submissions += 1;
                self.messages += u64::from(count);
                self.waiting.push(&text, count);
            }
            Line::Received { .. } => self.line += 1,
            Line::Executed { worker } => {
                let executed = self.executed();
                if self.workers.is_none() && worker.get() == 1 && executed > 0 {
                    // The turn came round: now N is known. It is at most WORKERS_MAX, since no
                    // greater worker number parses.
                    self.workers = u32::try_from(executed).ok().and_then(|n| Workers::new(n).ok());
                }
                self.line += 1;
                let count = self.count();
                if self.line == 2 * count {
                    self.waiting.pop();
                    self.base += count;
                    self.line = 0;
                }
            }
            Line::Total { .. } => {
                self.totals += 1;
                if self.workers.is_some() {
                    ended = self.end_if_complete();
                }
            }
        }
        Ok(ended)
    }

    /// The log ends here: it must not end inside a session.
    pub fn finish(&mut self) -> Result<Option<Summary>, Fault> {
        let ended = self.end_if_complete();
        if ended.is_none() && self.is_begun() {
            return Err(Fault::Unfinished { expected: self.expected() });
        }
        Ok(ended)
    }

    fn end_if_complete(&mut self) -> Option<Summary> {
        let complete = match self.workers {
            Some(workers) => self.totals == workers.get(),
            // Without a full turn each of the first workers has one message, and may be the last.
            None => u64::from(self.totals) >= self.base.max(1),
        };
        if !complete {
            return None;
        }
        let workers = self.workers.or_else(|| Workers::new(self.totals).ok())?;
        let summary = Summary {
            submissions: self.submissions,
            messages: self.messages,
            shares: workers.ids().map(|k| workers.share(k, self.messages)).collect(),
        };
        *self = Self::new(self.prescribed);
        Some(summary)
    }

    /// Messages of the current submission.
    fn count(&self) -> u64 {
        self.waiting.first().map_or(0, |(_, count)| count.into())
    }

    /// Messages executed: lines read for whole submissions, and for the current one.
    fn executed(&self) -> u64 {
        self.base + self.line.saturating_sub(self.count())
    }

    /// The first line of a submission was read, but not its second.
    #[must_use]
    pub fn is_inside_submission(&self) -> bool {
        self.text.is_some()
    }

    /// Forgets the first line of a submission whose second never came.
    pub fn forget_half_submission(&mut self) {
        self.text = None;
    }

    /// Bytes that the submissions which are not written to their last line take in a ledger's ring.
    #[must_use]
    pub fn ring_len(&self) -> u64 {
        self.waiting.ring_len()
    }

    /// A session has begun and has not ended.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.submissions > 0 || self.text.is_some()
    }

    /// How far the current session has come.
    #[must_use]
    pub fn progress(&self) -> Progress<'_> {
        Progress {
            submissions: self.submissions,
            messages: self.messages,
            base: self.base,
            line: self.line,
            executed: self.executed(),
            totals: self.totals,
            workers: self.workers,
            waiting: &self.waiting,
        }
    }
}

/// How far an unfinished session has come.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Submissions accepted.
    pub submissions: u64,
    /// Messages of all submissions.
    pub messages: u64,
    /// Messages of the submissions that are written to their last line.
    pub base: u64,
    /// Lines written of the first one that is not.
    pub line: u64,
    /// Messages executed, in rotation.
    pub executed: u64,
    /// Totals written.
    pub totals: u32,
    /// N, if the lines tell it.
    pub workers: Option<Workers>,
    waiting: &'a Waiting,
}

impl Progress<'_> {
    /// Submissions that are not written to their last line, each made when it is asked for.
    pub fn waiting(&self) -> impl Iterator<Item = Submission> {
        // Their parts were checked when the lines were parsed.
        self.waiting.iter().filter_map(|(text, count)| Submission::new(text.as_bytes(), count).ok())
    }

    /// Messages whose `Received` line stands, of those in the order of acceptance.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.base + self.line.min(self.waiting.first().map_or(0, |(_, count)| count.into()))
    }

    /// Messages executed by one worker.
    #[must_use]
    pub fn executed_by(&self, worker: WorkerId) -> u64 {
        match self.workers {
            Some(workers) if worker.get() > workers.get() => 0,
            Some(workers) => workers.share(worker, self.executed),
            // Without a full turn, each of the first workers has executed one.
            None => u64::from(u64::from(worker.get()) <= self.executed),
        }
    }
}

#[cfg(test)]
mod tests;
