//! From cursors to the bytes between them: what a transaction appends, and what a redo appends again.

use crate::error::Error;
use crate::ledger::{Cursors, Ledger};
use crate::line::{self, ExecutedLines, Line};
use crate::rotation::Workers;
use crate::submission::Submission;

/// How far rendering may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `Received` lines of the session's messages before this one.
    pub received: u64,
    /// `Executed` lines of the session's messages before this one.
    pub executed: u64,
    /// Ring position and line where to stop, whatever else is ready.
    pub stop: (u64, u64),
    /// No further line once so many bytes are rendered.
    pub bytes: usize,
}

/// The bytes of one transaction, and what makes rendering the next one cheap.
#[derive(Debug, Default)]
pub struct Renderer {
    bytes: Vec<u8>,
    /// The submission whose lines are being written, and where in the ring it begins.
    current: Option<(u64, Submission)>,
    executed_lines: Option<(Workers, ExecutedLines)>,
}

impl Renderer {
    /// Begins a transaction.
    pub fn clear(&mut self) {
        self.bytes.clear();
        // The ring's place may hold another submission by now.
        self.current = None;
    }

    /// What was rendered since.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Renders a submission's two lines.
    pub fn submission(&mut self, submission: &Submission) {
        line::append_submission(&mut self.bytes, submission);
    }

    /// Renders `Received` and `Executed` lines in canonical order, as far as `limits` let it, and
    /// moves the cursors over them.
    pub fn lines(
        &mut self,
        ledger: &Ledger,
        at: &mut Cursors,
        limits: &Limits,
    ) -> Result<(), Error> {
        while at.head != at.tail && self.bytes.len() < limits.bytes {
            if self.current.as_ref().is_none_or(|(head, _)| *head != at.head) {
                self.current = Some((at.head, ledger.read_submission(at.head)?));
            }
            let Some((_, submission)) = &self.current else { break };
            let count = u64::from(submission.count());
            // Where this kind of line ends, and how many lines of it may be written.
            let (end, ready) = if at.line < count {
                (count, limits.received.saturating_sub(at.base))
            } else {
                (2 * count, count.saturating_add(limits.executed.saturating_sub(at.base)))
            };
            let stop = if limits.stop.0 == at.head { limits.stop.1 } else { u64::MAX };
            let to = end.min(ready).min(stop);
            if to <= at.line {
                break;
            }
            if at.line < count {
                // All of these are at most the count, which is a u32.
                let (first, last) = (at.line as u32 + 1, to as u32);
                at.line = u64::from(line::append_received(
                    &mut self.bytes,
                    submission.text(),
                    first,
                    last,
                    limits.bytes,
                ));
            } else {
                let workers = at.workers().ok_or(Error::Damaged("it has lines but no workers"))?;
                let worker = workers.worker_of(at.base + at.line - count);
                let lines = match &self.executed_lines {
                    Some((of, lines)) if *of == workers => lines,
                    _ => &self.executed_lines.insert((workers, ExecutedLines::new(workers))).1,
                };
                at.line += lines.append(&mut self.bytes, worker, to - at.line, limits.bytes);
            }
            if at.line == 2 * count {
                at.head += Ledger::record_len(submission);
                at.base += count;
                at.line = 0;
            }
        }
        Ok(())
    }

    /// Renders the totals of workers that are ready for it, in order, up to and without number
    /// `stop`, and moves the cursors over them.
    pub fn totals(
        &mut self,
        at: &mut Cursors,
        stop: u64,
        is_ready: impl Fn(crate::rotation::WorkerId) -> bool,
    ) {
        let Some(workers) = at.workers() else { return };
        for worker in workers.ids().skip(at.totals as usize).take((stop - at.totals) as usize) {
            if !is_ready(worker) {
                break;
            }
            let messages = workers.share(worker, at.messages);
            line::append(&mut self.bytes, Line::Total { worker, messages });
            at.totals += 1;
        }
    }

    /// Renders everything that leads from one state to another.
    pub fn between(&mut self, ledger: &Ledger, from: &Cursors, to: &Cursors) -> Result<(), Error> {
        self.clear();
        let mut position = from.tail;
        while position < to.tail {
            let submission = ledger.read_submission(position)?;
            self.submission(&submission);
            position += Ledger::record_len(&submission);
        }
        let mut at = *from;
        at.workers = to.workers;
        let limits = Limits {
            received: u64::MAX,
            executed: u64::MAX,
            stop: (to.head, to.line),
            bytes: usize::MAX,
        };
        self.lines(ledger, &mut at, &limits)?;
        let totals = to.totals.max(at.totals);
        self.totals(&mut at, totals, |_| true);
        let arrived = (at.head, at.base, at.line, at.totals)
            == (to.head, to.base, to.line, to.totals)
            && position == to.tail;
        if !arrived || to.log_len.checked_sub(from.log_len) != Some(self.bytes.len() as u64) {
            return Err(Error::Damaged("its pending transaction contradicts itself"));
        }
        Ok(())
    }
}
