//! The log is a function of the accepted submissions, so two cursors describe the bytes between them: a transaction appends
//! these, and a redo renders them again.

use std::ops::Range;

use crate::error::Error;
use crate::grammar::line::{self, Line};
use crate::grammar::submission::Submission;
use crate::ledger::Ledger;
use crate::ledger::cursors::Cursors;
use crate::ledger::record::Record;

use super::runs::{ExecutedRun, ReceivedRun};

/// Where the records of accepted submissions are kept.
pub trait Records {
    /// Copies the record that is there.
    fn read_record(&self, at: u64, record: &mut Record) -> Result<(), Error>;
    /// An error that says why what is there cannot be.
    fn damaged(&self, why: &'static str) -> Error;
}

impl Records for Ledger {
    fn read_record(&self, at: u64, record: &mut Record) -> Result<(), Error> {
        self.read_record(at, record)
    }

    fn damaged(&self, why: &'static str) -> Error {
        self.damaged(why)
    }
}

/// How far rendering may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `Received` lines of the session's messages before this one.
    pub received: u64,
    /// `Executed` lines of the session's messages before this one.
    pub executed: u64,
    /// Where to stop, whatever else is ready: `head`, `index` and `line` of the cursors. Without one a transaction may
    /// end anywhere, and a long run of lines may be one of its own, rendered in place.
    pub stop: Option<(u64, u64, u64)>,
}

impl Limits {
    /// No further line once so many bytes are rendered.
    fn len(&self) -> usize {
        self.stop.map_or(TRANSACTION_LEN, |_| usize::MAX)
    }
}

/// A transaction gets no further line once it has so many bytes. Measured (`cargo xtask bench`):
/// larger ones gain nothing, and hold the lock longer.
pub const TRANSACTION_LEN: usize = 256 << 10;
/// A run shorter than this is copied: a transaction of its own would cost more.
const RUN_LINES_MIN: u64 = 1000;

/// The bytes of one transaction, and what makes rendering the next one cheap.
#[derive(Debug, Default)]
pub struct Renderer {
    payload: Payload,
    bytes: Vec<u8>,
    received_run: ReceivedRun,
    executed_run: ExecutedRun,
    /// The record whose submissions' lines are being written, and where in the ring it begins.
    record: Record,
    record_at: Option<u64>,
    /// Whose `Received` lines are in the run.
    run_of: Option<(u64, u64)>,
    wrote_received: bool,
}

/// Where the transaction's bytes are.
#[derive(Clone, Debug, Default)]
enum Payload {
    /// In the renderer's own buffer.
    #[default]
    Bytes,
    /// So many in a long run of `Received` lines.
    Received(usize),
    /// In a long run of `Executed` lines.
    Executed(Range<usize>),
}

impl Renderer {
    /// Begins a transaction.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.payload = Payload::Bytes;
        self.wrote_received = false;
    }

    /// What was rendered since.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.payload {
            Payload::Bytes => &self.bytes,
            Payload::Received(len) => &self.received_run.bytes[..*len],
            Payload::Executed(range) => &self.executed_run.bytes[range.clone()],
        }
    }

    /// Whether `Received` lines are among it.
    #[must_use]
    pub fn wrote_received(&self) -> bool {
        self.wrote_received
    }

    /// Renders a submission's two lines.
    pub fn submission(&mut self, submission: &Submission<&str>) {
        line::append_submission(&mut self.bytes, submission);
    }

    /// Renders `Received` and `Executed` lines in canonical order, as far as `limits` let it, and
    /// moves the cursors over them.
    pub fn lines(
        &mut self,
        records: &impl Records,
        at: &mut Cursors,
        limits: &Limits,
    ) -> Result<(), Error> {
        let mut more = true;
        while more && at.head != at.tail && self.bytes.len() < limits.len() {
            self.record(records, at.head)?;
            if self.lone_submissions(at, limits) {
                self.leave_record(at);
                continue;
            }
            let count = self.count(records, at)?;
            // Where this kind of line ends, and how many lines of it may be written.
            let (end, ready) = if at.line < count {
                (count, limits.received.saturating_sub(at.base))
            } else {
                (2 * count, count.saturating_add(limits.executed.saturating_sub(at.base)))
            };
            let stop = limits.stop.filter(|stop| (stop.0, stop.1) == (at.head, at.index));
            let stop = stop.map_or(u64::MAX, |stop| stop.2);
            let to = end.min(ready).min(stop);
            if to <= at.line {
                break;
            }
            more = if at.line < count {
                self.received_lines(at, to, limits)
            } else {
                let workers = at.workers();
                let workers =
                    workers.ok_or_else(|| records.damaged("it has lines but no workers"))?;
                self.executed_run.render(workers, TRANSACTION_LEN);
                let worker = workers.worker_of(at.base + at.line - count);
                let room = limits.len().saturating_sub(self.bytes.len()).min(TRANSACTION_LEN);
                let (range, lines) = self.executed_run.lines(worker, to - at.line, room);
                let in_place = self.may_be_run(at, to, limits);
                at.line += lines;
                if in_place {
                    self.payload = Payload::Executed(range);
                } else {
                    self.bytes.extend_from_slice(&self.executed_run.bytes[range]);
                }
                !in_place
            };
            if at.line == 2 * count {
                (at.base, at.index, at.line) = (at.base + count, at.index + 1, 0);
            }
            self.leave_record(at);
        }
        Ok(())
    }

    /// Renders all lines of submissions of one message, as long as another one of these comes and is executed: of most
    /// files of lines there are no others. Returns whether there were any.
    fn lone_submissions(&mut self, at: &mut Cursors, limits: &Limits) -> bool {
        let (first, ready) = (at.base, limits.received.min(limits.executed));
        let may_be = at.line == 0 && first < ready && limits.stop.is_none();
        let Some(workers) = at.workers().filter(|_| may_be) else { return false };
        let mut worker = workers.worker_of(first);
        self.executed_run.render(workers, TRANSACTION_LEN);
        while at.base < ready
            && self.bytes.len() < limits.len()
            && let Some((_, submission)) = self.record.get(at.index as usize)
            && submission.count() == 1
        {
            line::append_one_received(&mut self.bytes, submission.text().as_bytes(), 1);
            self.bytes.extend_from_slice(self.executed_run.line(worker));
            (at.base, at.index) = (at.base + 1, at.index + 1);
            worker = workers.after(worker);
        }
        self.wrote_received |= at.base > first;
        at.base > first
    }

    /// After its last submission the next record begins.
    fn leave_record(&self, at: &mut Cursors) {
        if at.index == self.record.submissions() as u64 {
            (at.head, at.index) = (at.head + self.record.ring_len(), 0);
        }
    }

    /// The record at that place of the ring, copied out and checked when it is first asked for. What is there belongs
    /// to this place only, and stays the same as long as it is needed.
    fn record(&mut self, records: &impl Records, at: u64) -> Result<&Record, Error> {
        if self.record_at != Some(at) {
            self.forget();
            records.read_record(at, &mut self.record)?;
            self.record_at = Some(at);
        }
        Ok(&self.record)
    }

    /// The count of the submission whose lines come next.
    pub fn count(&mut self, records: &impl Records, at: &Cursors) -> Result<u64, Error> {
        let record = self.record(records, at.head)?;
        let named = record.named(at.index).map_err(|why| records.damaged(why));
        named.map(|(_, submission)| submission.count().into())
    }

    /// The ledger is to be looked at again: what was right may be damaged since.
    pub(crate) fn forget(&mut self) {
        self.record_at = None;
    }

    /// Renders `Received` lines up to line `to`. Returns whether the transaction may have more.
    fn received_lines(&mut self, at: &mut Cursors, to: u64, limits: &Limits) -> bool {
        let Some((_, submission)) = self.record.get(at.index as usize) else { return false };
        let text = submission.text().as_bytes();
        self.wrote_received = true;
        // All of these are at most the count, which is a u32.
        let (first, mut last) = (at.line as u32 + 1, to as u32);
        if self.may_be_run(at, to, limits) && self.run_of != Some((at.head, at.index)) {
            self.received_run.rendered = None;
            self.run_of = Some((at.head, at.index));
        }
        if self.may_be_run(at, to, limits)
            && let Some((len, lines)) = self.received_run.blocks(text, first, last, TRANSACTION_LEN)
        {
            self.payload = Payload::Received(len);
            at.line += u64::from(lines);
            return false;
        }
        // Up to where a run can begin.
        let run_first = (first + 1).next_multiple_of(ReceivedRun::BLOCK_LINES_MAX);
        if limits.stop.is_none() && u64::from(run_first) + RUN_LINES_MIN <= to {
            last = run_first - 1;
        }
        at.line = line::append_received(&mut self.bytes, text, first, last, limits.len()).into();
        at.line == to
    }

    /// Whether the lines up to line `to` are enough for a transaction of their own, rendered in place.
    fn may_be_run(&self, at: &Cursors, to: u64, limits: &Limits) -> bool {
        limits.stop.is_none() && self.bytes.is_empty() && to - at.line >= RUN_LINES_MIN
    }

    /// Renders totals, so many with those that are written, and moves the cursors over them.
    pub fn totals(&mut self, at: &mut Cursors, to: u64) {
        let Some(workers) = at.workers() else { return };
        for worker in workers.ids().take(to as usize).skip(at.totals as usize) {
            let messages = workers.share(worker, at.messages);
            line::append(&mut self.bytes, Line::Total { worker, messages });
            at.totals += 1;
        }
    }

    /// Renders everything that leads from one state to another.
    pub(crate) fn between(
        &mut self,
        ledger: &Ledger,
        from: &Cursors,
        to: &Cursors,
    ) -> Result<(), Error> {
        self.clear();
        self.forget();
        let mut position = from.tail;
        while position < to.tail {
            ledger.read_record(position, &mut self.record)?;
            for submission in self.record.iter() {
                line::append_submission(&mut self.bytes, &submission);
            }
            position += self.record.ring_len();
        }
        let mut at = *from;
        at.workers = to.workers;
        let stop = Some((to.head, to.index, to.line));
        self.lines(ledger, &mut at, &Limits { received: u64::MAX, executed: u64::MAX, stop })?;
        self.totals(&mut at, to.totals);
        at.tail = position;
        let places = |at: &Cursors| (at.tail, at.head, at.index, at.base, at.line, at.totals);
        let len = to.log_len.checked_sub(from.log_len);
        if places(&at) != places(to) || len != Some(self.bytes.len() as u64) {
            return Err(ledger.damaged("its pending transaction contradicts itself"));
        }
        Ok(())
    }
}
