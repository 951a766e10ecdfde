//! The canonical order, as a machine that reads a log line by line and says what may come next.
//! `cargo xtask verify` judges logs with it, and a session whose IPC objects are lost is rebuilt with
//! it.
//!
//! Without its client lines, a session's log is a function of the submissions in their order: each
//! one's `Received` lines 1..count, then its `Executed` lines in rotation; at the end the totals. A
//! submission's two client lines stand together, anywhere before its first `Received` line.

mod waiting;

use std::fmt;

use crate::line::{self, Line};
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

    fn may_follow(&self, line: Line<'_>) -> bool {
        if self.text.is_some() {
            return matches!(line, Line::Count { .. });
        }
        match line {
            Line::Client { .. } => self.totals == 0,
            Line::Count { .. } => false,
            _ => self.due().is_some_and(|due| due.candidates().any(|due| due == line)),
        }
    }

    /// The one line that may come next, client lines aside.
    fn due(&self) -> Option<Due<'_>> {
        let executed = self.executed();
        if let Some((text, count)) = self.waiting.first() {
            if self.line < count.into() {
                let index = u32::try_from(self.line + 1).unwrap_or(count);
                return Some(Due::Line(Line::Received { text, index }));
            }
            return Some(match self.workers {
                Some(workers) => Due::Line(Line::Executed { worker: workers.worker_of(executed) }),
                None => Due::Executed {
                    next: u32::try_from(executed + 1).ok().and_then(|k| WorkerId::new(k).ok()),
                    again: WorkerId::new(1).ok().filter(|_| executed > 0),
                },
            });
        }
        if self.submissions == 0 {
            return None;
        }
        let worker = WorkerId::new(self.totals + 1).ok()?;
        let messages = match self.workers {
            Some(workers) if worker.get() > workers.get() => return None,
            Some(workers) => workers.share(worker, executed),
            None => u64::from(u64::from(worker.get()) <= executed),
        };
        Some(Due::Line(Line::Total { worker, messages }))
    }

    /// What may come next, in words.
    #[must_use]
    pub fn expected(&self) -> String {
        if self.text.is_some() {
            return "`Message count: …` of the line before".to_owned();
        }
        match self.due() {
            None => "`Message from client: …`".to_owned(),
            Some(due) if self.totals > 0 => due.to_string(),
            Some(due) => format!("{due} (or a new submission's `Message from client: …`)"),
        }
    }

    /// Whether a line that may come next begins with these bytes, as after a write that was cut short.
    #[must_use]
    pub fn may_begin_with(&self, fragment: &[u8]) -> bool {
        if self.text.is_some() {
            return line::begins_count(fragment);
        }
        self.begun(fragment).next().is_some() || (self.totals == 0 && line::begins_client(fragment))
    }

    /// What is missing of the line that these bytes begin, `\n` included. Nothing if they can begin two, or a
    /// submission's, or if the whole line would say less than its half: that N workers had no more totals.
    #[must_use]
    pub fn completion(&self, fragment: &[u8]) -> Option<Vec<u8>> {
        let all_logged = self.waiting.first().is_none();
        let ambiguous = self.workers.is_none() && u64::from(self.totals) + 1 >= self.base;
        if fragment.is_empty() || self.text.is_some() || all_logged && ambiguous {
            return None;
        }
        let mut begun = self.begun(fragment);
        let line = begun.next().filter(|_| begun.next().is_none())?;
        Some([&line.as_bytes()[fragment.len()..], b"\n"].concat())
    }

    /// The lines that are due and begin so.
    fn begun(&self, fragment: &[u8]) -> impl Iterator<Item = String> {
        let lines = self.due().into_iter().flat_map(|due| due.candidates());
        lines.map(|line| line.to_string()).filter(|line| line.as_bytes().starts_with(fragment))
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

/// A line that is due.
enum Due<'a> {
    Line(Line<'a>),
    /// N is not known: the next worker's, or worker 1's again.
    Executed {
        next: Option<WorkerId>,
        again: Option<WorkerId>,
    },
}

impl<'a> Due<'a> {
    fn candidates(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let executed = |worker: &Option<WorkerId>| worker.map(|worker| Line::Executed { worker });
        match self {
            Self::Line(line) => [Some(*line), None],
            Self::Executed { next, again } => [executed(next), executed(again)],
        }
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Due<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.candidates().enumerate() {
            write!(f, "{}`{line}`", if i > 0 { " or " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
