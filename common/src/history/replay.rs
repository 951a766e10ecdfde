//! The canonical order, as a machine that reads a log line by line and says what may come next.
//! `lbctl verify` judges logs with it, and a session whose IPC objects are lost is rebuilt with
//! it.
//!
//! Without its client lines, a session's log is a function of the submissions in their order: each
//! one's `Received` lines 1..count, then its `Executed` lines in rotation; at the end the totals. A
//! submission's two client lines are together, anywhere before its first `Received` line.

mod due;
mod waiting;

use crate::grammar::line::Line;
use crate::grammar::rotation::{WorkerId, Workers};
use crate::grammar::submission::Submission;
use crate::ledger::cursors::Cursors;
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

/// A line that must not be where it is, or not be at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is none of the five kinds of line.
    #[error("this is none of the five kinds of line")]
    NotALine,
    /// Another line was due: what may be there.
    #[error("expected {0}")]
    Unexpected(String),
    /// The log ends in the middle of a session: what should come next.
    #[error("the session is not finished; next should come {0}")]
    Unfinished(String),
}

/// Reads lines, and knows how far the current session has come.
#[derive(Debug, Default)]
pub struct Replay {
    /// N, when it is prescribed for every session.
    prescribed: Option<Workers>,
    /// The text of a submission whose count line has not come yet.
    text: Option<String>,
    /// Submissions that are not written to their last line.
    waiting: Waiting,
    /// The log's length, places in a ring and whether the session is closing are not among what is known.
    at: Cursors,
}

impl Replay {
    /// Begins at the start of a log; N is prescribed, or found out from each session's lines.
    #[must_use]
    pub fn new(workers: Option<Workers>) -> Self {
        let n = workers.map_or(0, |workers| workers.get().into());
        let at = Cursors { workers: n, ..Cursors::default() };
        Self { prescribed: workers, at, ..Self::default() }
    }

    /// Reads one line, given without its `\n`. Returns the summary of the session that it ends or,
    /// where N was not known, that its predecessor has ended.
    pub fn push(&mut self, line: &[u8]) -> Result<Option<Summary>, Fault> {
        let line = Line::parse_bytes(line).ok_or(Fault::NotALine)?;
        let mut ended = None;
        if matches!(line, Line::Client { .. }) {
            ended = self.end_if_complete();
        }
        if !self.may_follow(line) {
            return Err(Fault::Unexpected(self.expected()));
        }
        match line {
            Line::Client { text } => self.text = Some(text.to_owned()),
            Line::Count { count } => {
                let text = self.text.take().unwrap_or_default();
                self.waiting.push(&text, count);
                self.at.submissions += 1;
                self.at.messages += u64::from(count);
            }
            Line::Received { .. } => self.at.line += 1,
            Line::Executed { worker } => {
                if self.at.workers == 0 && worker.get() == 1 {
                    // If the turn came round, now N is known. It is at most WORKERS_MAX, since no
                    // greater worker number parses.
                    self.at.workers = self.executed();
                }
                self.at.line += 1;
                let count = self.count();
                if self.at.line == 2 * count {
                    self.waiting.pop();
                    self.at.base += count;
                    self.at.line = 0;
                }
            }
            Line::Total { .. } => {
                self.at.totals += 1;
                if self.at.workers > 0 {
                    ended = self.end_if_complete();
                }
            }
        }
        Ok(ended)
    }

    /// The log ends here: it must not end inside a session.
    pub fn finish(&mut self) -> Result<Option<Summary>, Fault> {
        let ended = self.end_if_complete();
        if ended.is_none() && (self.is_begun() || self.is_inside_submission()) {
            return Err(Fault::Unfinished(self.expected()));
        }
        Ok(ended)
    }

    fn end_if_complete(&mut self) -> Option<Summary> {
        let Cursors { submissions, messages, base, totals, workers, .. } = self.at;
        // Without a full turn each of the first workers has one message, and may be the last.
        let complete = if workers > 0 { totals == workers } else { totals >= base };
        let workers = Workers::new(totals).ok().filter(|_| complete)?;
        let shares = workers.ids().map(|k| workers.share(k, messages)).collect();
        *self = Self::new(self.prescribed);
        Some(Summary { submissions, messages, shares })
    }

    /// N; as long as it is not known, the greatest that may be.
    fn workers(&self) -> Workers {
        self.at.workers().unwrap_or(Workers::MAX)
    }

    /// Messages of the current submission.
    fn count(&self) -> u64 {
        self.waiting.first().map_or(0, |(_, count)| count.into())
    }

    /// Messages executed: lines read for whole submissions, and for the current one.
    fn executed(&self) -> u64 {
        self.at.base + self.at.line.saturating_sub(self.count())
    }

    /// The first line of a submission was read, but not its second.
    #[must_use]
    pub fn is_inside_submission(&self) -> bool {
        self.text.is_some()
    }

    /// A session has begun, with a whole submission, and has not ended.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.at.submissions > 0
    }

    /// How far the current session has come, but for the log's length, places in a ring and whether it is closing.
    #[must_use]
    pub fn cursors(&self) -> Cursors {
        self.at
    }

    /// The least room that the submissions need in a ring that are not written to their last line.
    #[must_use]
    pub fn ring_len(&self) -> u64 {
        self.waiting.ring_len()
    }

    /// Submissions that are not written to their last line, each made when it is asked for.
    pub fn waiting(&self) -> impl Iterator<Item = Submission<&str>> {
        // Their parts were checked when the lines were parsed.
        self.waiting.iter().map(|(text, count)| Submission::of_checked(text, count))
    }

    /// Messages whose `Received` line is there, of those in the order of acceptance.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.at.base + self.at.line.min(self.count())
    }

    /// Messages executed by one worker.
    #[must_use]
    pub fn executed_by(&self, worker: WorkerId) -> u64 {
        let workers = self.workers();
        if worker.get() > workers.get() { 0 } else { workers.share(worker, self.executed()) }
    }
}

#[cfg(test)]
mod tests;
