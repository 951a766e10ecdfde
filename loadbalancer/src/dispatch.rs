//! Forwards messages: which are taken, and which of them may go to whom.
//!
//! Each worker has a queue of its own, so a worker that stands still fills only that: the kernel's
//! limit on a queue is the credit. Sending never blocks.

use std::collections::VecDeque;

use common::cursors::Cursors;
use common::error::Error;
use common::fence::message_queue::{MESSAGE_LEN_MAX, Message};
use common::frame::FRAME_LEN_MIN;
use common::instance::Instance;
use common::ledger::Ledger;
use common::rotation::{WorkerId, Workers};

use crate::outlet::{Outlet, Stock, Taken};

/// In bulk, a frame is sent once there are so many messages for it: a wake-up for each few, of each of
/// 256 workers, took five times as long as all the rest.
const BULK_MESSAGES: u64 = 512;

pub(crate) struct Dispatch {
    workers: Workers,
    taken: VecDeque<Taken>,
    next_position: u64,
    next_base: u64,
    outlets: Vec<Outlet>,
    message: Box<Message>,
    msgmax: usize,
}

impl Dispatch {
    pub(crate) fn new(workers: Workers, at: &Cursors) -> Result<Self, Error> {
        let msgmax = std::fs::read_to_string("/proc/sys/kernel/msgmax")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(MESSAGE_LEN_MAX);
        if msgmax < FRAME_LEN_MIN {
            return Err(Error::QueueTooSmall { bytes_max: msgmax as u64, needed: FRAME_LEN_MIN });
        }
        Ok(Self {
            workers,
            taken: VecDeque::new(),
            next_position: at.head,
            next_base: at.base,
            outlets: workers.ids().map(Outlet::new).collect(),
            message: Message::boxed(),
            msgmax,
        })
    }

    /// Takes what was accepted since the last look, and forgets what is logged to its last line.
    /// From here on it counts as received. Returns whether there was anything.
    pub(crate) fn take(&mut self, ledger: &Ledger, at: &Cursors) -> Result<bool, Error> {
        while self.taken.front().is_some_and(|taken| taken.base + taken.count <= at.base) {
            self.taken.pop_front();
        }
        let before = self.next_position;
        while self.next_position < at.tail {
            let read = ledger.read_submission(self.next_position);
            let now = ledger.cursors()?;
            if self.next_position < now.head {
                // Logged to its last line, and perhaps overwritten, before it was taken: by workers that
                // outlived a balancer, which had counted it as received.
                (self.next_position, self.next_base) = (now.head, now.base);
                continue;
            }
            let submission = read?;
            let count = submission.count().into();
            self.taken.push_back(Taken {
                position: self.next_position,
                base: self.next_base,
                count,
            });
            self.next_position += Ledger::record_len(&submission);
            self.next_base += count;
        }
        // Any other number is damage, at which everybody would sleep.
        if ledger.received() != self.next_base {
            ledger.set_received(self.next_base);
        }
        Ok(self.next_position > before)
    }

    /// Messages before this one may be forwarded. A message is logged before it is forwarded; only
    /// while the log still waits for workers to execute an earlier submission are later ones sent
    /// ahead, having been received in the ledger: their lines follow, in their order.
    fn forward_limit(&self, at: &Cursors) -> u64 {
        // The submission at the head; none if all that was taken is logged.
        let head = self.taken.partition_point(|taken| taken.base + taken.count <= at.base);
        match self.taken.get(head) {
            Some(head) if at.line < head.count => (at.base + at.line).min(self.next_base),
            _ => self.next_base,
        }
    }

    /// Follows every worker that has a new queue.
    pub(crate) fn follow(&mut self, instance: &Instance, ledger: &Ledger) {
        let msgmax = self.msgmax;
        self.outlets.iter_mut().for_each(|outlet| outlet.follow(instance, ledger, msgmax));
    }

    /// Looks for workers whose frames were taken; see [`Outlet::watch`].
    /// `finishing`: totals, too, are waited for.
    pub(crate) fn watch(
        &mut self,
        instance: &Instance,
        ledger: &Ledger,
        finishing: bool,
    ) -> Result<(), Error> {
        self.workers.ids().try_for_each(|worker| {
            let due = self.due(worker, ledger, finishing);
            self.outlets[worker.index()].watch(instance, ledger, due)
        })
    }

    /// See [`Outlet::waiting`].
    pub(crate) fn waiting(
        &self,
        worker: WorkerId,
        ledger: &Ledger,
        finishing: bool,
    ) -> Option<u64> {
        self.outlets[worker.index()].waiting(ledger, self.due(worker, ledger, finishing))
    }

    /// How much is a worker's own. `finishing`: its total, too.
    fn due(&self, worker: WorkerId, ledger: &Ledger, finishing: bool) -> u64 {
        let total = finishing && !ledger.cell(worker).is_finished();
        self.workers.share(worker, self.next_base) + u64::from(total)
    }

    /// Sends what may be sent and fits. Returns whether anything was.
    pub(crate) fn send(&mut self, ledger: &Ledger, at: &Cursors) -> Result<bool, Error> {
        let limit = self.forward_limit(at);
        // While more received lines are to come, nothing executed can be logged yet: no hurry, so
        // frames wait until they are worth sending.
        let least = if limit < self.next_base { BULK_MESSAGES } else { 1 };
        let Self { outlets, taken, message, workers, .. } = self;
        let stock = Stock { taken, workers: *workers, limit, least };
        let mut any = false;
        for outlet in outlets {
            while outlet.send_frame(message, ledger, &stock)? {
                any = true;
            }
        }
        Ok(any)
    }

    /// Has each worker log its total.
    pub(crate) fn send_finish(&mut self, ledger: &Ledger) -> Result<(), Error> {
        let Self { outlets, message, .. } = self;
        outlets.iter_mut().try_for_each(|outlet| outlet.send_finish(message, ledger))
    }

    /// Before sleeping; see [`Outlet::may_sleep`].
    pub(crate) fn may_sleep(&self, ledger: &Ledger) -> bool {
        self.outlets.iter().all(|outlet| outlet.may_sleep(ledger))
    }

    /// After sleeping.
    pub(crate) fn awake(&mut self, ledger: &Ledger) {
        self.outlets.iter_mut().for_each(|outlet| outlet.awake(ledger));
    }

    /// After a long sleep; see [`Outlet::retry`].
    pub(crate) fn retry(&mut self) {
        self.outlets.iter_mut().for_each(Outlet::retry);
    }
}

#[cfg(test)]
mod tests {
    use common::fence::message_queue::MessageQueue;
    use common::fence::shared_memory;
    use common::journal::{Advance, Journal};
    use common::session;
    use common::submission::Submission;

    use super::*;

    /// A session with these submissions; its ledger is to be removed.
    fn session<'a>(instance: &'a Instance, submissions: &[&str]) -> Journal<'a> {
        let submissions: Vec<_> =
            submissions.iter().map(|text| Submission::parse(text.as_bytes()).unwrap()).collect();
        let mut journal = Journal::submit(instance, &submissions, false).unwrap().0;
        journal.set_workers(Workers::new(1).unwrap()).unwrap();
        journal
    }

    fn remove(journal: &Journal<'_>) {
        shared_memory::remove(journal.ledger().segment_id()).unwrap();
    }

    fn worker() -> WorkerId {
        WorkerId::new(1).unwrap()
    }

    /// Workers that outlived a balancer logged a submission to its last line between the next one's look
    /// at the cursors and at the ring, where a client may have written another one since.
    #[test]
    fn what_was_logged_before_it_was_taken_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let mut journal = session(&instance, &["a;2", "b;3"]);
        let before = journal.cursors().unwrap();
        let mut dispatch = Dispatch::new(Workers::new(1).unwrap(), &before).unwrap();
        journal.ledger().set_received(5);
        journal.ledger().cell(worker()).set_executed(2);
        while journal.advance().unwrap() == Advance::Wrote {}
        dispatch.take(journal.ledger(), &before).unwrap();
        remove(&journal);
        assert_eq!(dispatch.next_base, 5);
        assert_eq!(dispatch.taken.iter().map(|taken| taken.base).collect::<Vec<_>>(), [2]);
    }

    /// Another program had lowered the counter: nothing seemed ready any more, and all slept for ever.
    #[test]
    fn a_lowered_counter_of_what_was_received_stopped_everything() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let journal = session(&instance, &["a;2"]);
        let at = journal.cursors().unwrap();
        let mut dispatch = Dispatch::new(Workers::new(1).unwrap(), &at).unwrap();
        dispatch.take(journal.ledger(), &at).unwrap();
        journal.ledger().set_received(0);
        dispatch.take(journal.ledger(), &at).unwrap();
        let received = journal.ledger().received();
        remove(&journal);
        assert_eq!(received, 2);
    }

    /// A worker executed a submission that an earlier balancer had sent, after the next one had begun with its
    /// queue. Going on from where that was, frames without a message were sent without end, or a difference
    /// overflowed.
    #[test]
    fn what_an_earlier_balancer_sent_is_not_sent_again() {
        for later in [None, Some(Submission::parse(b"b;1").unwrap())] {
            let dir = tempfile::tempdir().unwrap();
            let instance = Instance::open(dir.path()).unwrap();
            let mut journal = session(&instance, &["a;2"]);
            let mut dispatch =
                Dispatch::new(Workers::new(1).unwrap(), &journal.cursors().unwrap()).unwrap();
            dispatch.take(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            while journal.advance().unwrap() == Advance::Wrote {}
            let queue: MessageQueue = session::fresh_queue(&instance, worker()).unwrap();
            journal.ledger().cell(worker()).set_queue(queue.0);
            dispatch.follow(&instance, journal.ledger());
            journal.ledger().cell(worker()).set_executed(2);
            while journal.advance().unwrap() == Advance::Wrote {}
            let sent = later.map(|later| journal.accept(&[later]).unwrap()).is_some();
            dispatch.take(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            while journal.advance().unwrap() == Advance::Wrote {}
            dispatch.send(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            let messages = queue.stat().unwrap().messages;
            queue.remove().unwrap();
            remove(&journal);
            assert_eq!(messages, u64::from(sent));
        }
    }
}
