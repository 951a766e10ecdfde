//! The submissions that the balancer has taken, each copied out of the ledger, and checked, once: what may be sent.

use std::collections::{VecDeque, vec_deque};

use common::error::Error;
use common::grammar::rotation::Workers;
use common::grammar::submission::Submission;
use common::ledger::Ledger;
use common::ledger::cursors::Cursors;
use common::ledger::record::Record;

/// What was taken: a record, or several small ones together.
struct Taken {
    record: Record,
    /// The session's number of its first message, and the one after its last.
    base: u64,
    end: u64,
}

/// What may be sent now.
pub(crate) struct Stock {
    pub(crate) workers: Workers,
    taken: VecDeque<Taken>,
    /// What is being taken.
    record: Record,
    /// Kept for their room only: made anew for each, they had the heap grow and shrink.
    spare: Vec<Record>,
    next: Next,
    /// Messages before this one may be sent.
    pub(crate) limit: u64,
    /// A frame is worth sending with so many for its worker.
    pub(crate) least: u64,
}

/// What is to be taken next.
#[derive(Clone, Copy)]
struct Next {
    /// Where its record begins in the ring.
    position: u64,
    /// Which submission of it comes next. Those before are logged to their last line.
    index: u64,
    /// The session's number of that one's first message.
    base: u64,
}

impl Next {
    fn of(at: &Cursors) -> Self {
        Self { position: at.head, index: at.index, base: at.base }
    }
}

/// What may be sent of a submission.
pub(crate) struct Part<'a> {
    /// The number of its first message.
    pub(crate) base: u64,
    /// The messages before this one.
    pub(crate) end: u64,
    pub(crate) submission: Submission<&'a str>,
}

impl Stock {
    pub(crate) fn new(workers: Workers, at: &Cursors) -> Self {
        let next = Next::of(at);
        let (taken, record, spare) = (VecDeque::new(), Record::default(), Vec::new());
        Self { workers, taken, record, spare, next, limit: at.base, least: 1 }
    }

    /// Messages before this one are taken.
    pub(crate) fn end(&self) -> u64 {
        self.next.base
    }

    /// Takes what was accepted since the last look. Returns whether there was anything.
    pub(crate) fn take(&mut self, ledger: &Ledger, at: &Cursors) -> Result<bool, Error> {
        let before = self.next.position;
        while self.next.position < at.tail {
            let read = ledger.read_record(self.next.position, &mut self.record);
            let now = ledger.cursors()?;
            if self.next.position < now.head {
                // Logged to its last line, and perhaps overwritten, before it was taken: by workers that
                // outlived a balancer, which had counted it as received.
                self.next = Next::of(&now);
                continue;
            }
            read?;
            let (first, _) =
                self.record.named(self.next.index).map_err(|why| ledger.damaged(why))?;
            let base = self.next.base.checked_sub(first).ok_or_else(|| {
                ledger.damaged("its cursors say of fewer messages than the record has before")
            })?;
            let end = base + self.record.messages();
            let position = self.next.position + self.record.ring_len();
            self.next = Next { position, index: 0, base: end };
            let last = self.taken.back_mut().filter(|last| last.end == base);
            if let Some(last) = last
                && last.record.append(&self.record)
            {
                last.end = end;
                continue;
            }
            let mut record = self.spare.pop().unwrap_or_default();
            record.clear();
            record.append(&self.record);
            self.taken.push_back(Taken { record, base, end });
        }
        Ok(self.next.position > before)
    }

    /// Forgets what is logged to its last line: what ends before this message.
    pub(crate) fn forget(&mut self, base: u64) {
        let logged = self.taken.drain(..self.place_of(base));
        self.spare.extend(logged.map(|taken| taken.record));
    }

    /// The message after the last one of the submission that this one belongs to.
    pub(crate) fn end_of(&self, message: u64) -> Option<u64> {
        self.taken.get(self.place_of(message))?.part(message).map(|part| part.end)
    }

    /// What may be sent, from a message on, submission by submission.
    pub(crate) fn from(&self, message: u64) -> Parts<'_> {
        let mut rest = self.taken.range(self.place_of(message)..);
        Parts { taken: rest.next(), rest, limit: self.limit }
    }

    /// Of which messages the taken ones are, record by record.
    #[cfg(test)]
    pub(crate) fn bounds(&self) -> Vec<(u64, u64)> {
        self.taken.iter().map(|taken| (taken.base, taken.end)).collect()
    }

    /// Which record the message belongs to.
    fn place_of(&self, message: u64) -> usize {
        self.taken.partition_point(|taken| taken.end <= message)
    }
}

impl Taken {
    /// The submission of a message.
    fn part(&self, message: u64) -> Option<Part<'_>> {
        let within = self.record.index_of(message.saturating_sub(self.base));
        let (first, submission) = self.record.get(within)?;
        let base = self.base + first;
        Some(Part { base, end: base + u64::from(submission.count()), submission })
    }
}

/// Goes through what may be sent.
pub(crate) struct Parts<'a> {
    taken: Option<&'a Taken>,
    rest: vec_deque::Iter<'a, Taken>,
    limit: u64,
}

impl<'a> Parts<'a> {
    /// The texts of every `step`th message from this one on that may be sent, as long as each submission up to it has no
    /// other, and they are in one record.
    pub(crate) fn lone(&self, message: u64, step: usize) -> impl Iterator<Item = &'a str> {
        let most = self.limit.saturating_sub(message).div_ceil(step as u64) as usize;
        let taken = self.taken.filter(|taken| taken.base <= message && message < taken.end);
        let texts = taken
            .map(|Taken { record, base, .. }| record.lone(record.index_of(message - base), step));
        texts.into_iter().flatten().take(most)
    }

    /// The submission of a message, which is none before the one that was asked for last.
    pub(crate) fn find(&mut self, message: u64) -> Option<Part<'a>> {
        while self.taken?.end <= message {
            self.taken = self.rest.next();
        }
        let part = self.taken?.part(message).filter(|_| message < self.limit)?;
        Some(Part { end: part.end.min(self.limit), ..part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::instance::Instance;
    use common::log::journal::Journal;

    /// Small records are kept together: as many as a ring holds took too much memory, each by itself. Whatever they are
    /// kept in, each message is found in its submission.
    #[test]
    fn small_records_are_kept_together() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let counts = |i: u32| if i.is_multiple_of(7) { 3 } else { 1 };
        let lines: Vec<_> = (0..2000).map(|i| format!("text {i};{}", counts(i))).collect();
        let submission = |line: &'static str| Submission::parse(line.as_bytes()).unwrap();
        let lines: Vec<&'static str> = lines.into_iter().map(|line| &*line.leak()).collect();
        let mut journal = Journal::submit(&instance, &[submission(lines[0])], false).unwrap().0;
        for line in &lines[1..] {
            journal.accept(&[submission(line)]).unwrap();
        }
        let at = journal.cursors().unwrap();
        let mut stock = Stock::new(Workers::new(3).unwrap(), &Cursors::default());
        assert!(stock.take(journal.ledger(), &at).unwrap());
        common::fence::shared_memory::remove(journal.ledger().segment_id()).unwrap();
        assert!(stock.bounds().len() < 10, "{:?}", stock.bounds());
        assert_eq!(stock.end(), at.messages);
        stock.limit = at.messages;
        let (mut parts, mut message) = (stock.from(0), 0);
        for line in lines {
            let part = parts.find(message).unwrap();
            let lone = parts.lone(message, 1).next();
            assert_eq!(part.submission.to_string(), line);
            assert_eq!(part.base, message);
            assert_eq!(lone, (part.end - part.base == 1).then(|| part.submission.text()));
            message = part.end;
        }
        assert!(parts.find(message).is_none());
    }
}
