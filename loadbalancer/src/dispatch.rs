//! Forwards messages: which are taken, and which of them may go to whom.
//!
//! Each worker has a queue of its own, so a worker that makes no progress fills only that: the kernel's
//! limit on a queue is the credit. Sending never blocks.

use common::error::Error;
use common::fence::message_queue::Message;
use common::grammar::rotation::{WorkerId, Workers};
use common::ledger::Ledger;
use common::ledger::cell::HandState;
use common::ledger::cursors::Cursors;
use common::log::journal::Journal;

use crate::outlet::Outlet;
use crate::stock::Stock;

/// In bulk, a frame is sent once there are so many messages for it: a wake-up for each few, of each of
/// 256 workers, took five times as long as all the rest.
const BULK_MESSAGES: u64 = 512;

pub(crate) struct Dispatch {
    stock: Stock,
    pub(crate) outlets: Vec<Outlet>,
    message: Box<Message>,
    /// Everything is logged, only totals are missing.
    pub(crate) finishing: bool,
}

/// What a worker has not executed.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) executed: u64,
    pub(crate) messages: u64,
    /// So much is in its queue, if it has one.
    pub(crate) queued: Option<u64>,
    /// No messages, but its total.
    pub(crate) finishing: bool,
}

impl Dispatch {
    pub(crate) fn new(workers: Workers, at: &Cursors) -> Self {
        Self {
            stock: Stock::new(workers, at),
            outlets: workers.ids().map(Outlet::new).collect(),
            message: Message::boxed(),
            finishing: false,
        }
    }

    /// Takes what was accepted since the last look. From here on it counts as received. Returns whether
    /// there was anything.
    pub(crate) fn take(&mut self, ledger: &Ledger, at: &Cursors) -> Result<bool, Error> {
        let any = self.stock.take(ledger, at)?;
        // Any other number is damage, at which everybody would sleep.
        if ledger.received() != self.stock.end() {
            ledger.set_received(self.stock.end());
        }
        Ok(any)
    }

    /// Sends what may be sent and fits, and forgets what is logged to its last line. Returns whether any
    /// messages were sent.
    pub(crate) fn send(&mut self, journal: &Journal<'_>, at: &Cursors) -> Result<bool, Error> {
        self.finishing = at.is_closing() && at.all_logged();
        let stock = &mut self.stock;
        stock.forget(at.base);
        // A message is logged before it is forwarded; only while the log still waits for workers to execute an
        // earlier submission are later ones sent ahead, having been received in the ledger: their lines follow,
        // in their order.
        let received = at.base + at.line;
        let all_received = stock.end_of(at.base).is_none_or(|end| end <= received);
        stock.limit = if all_received { stock.end() } else { received };
        // While more received lines are to come, nothing executed can be logged yet: no hurry, so
        // frames wait until they are worth sending.
        stock.least = if stock.limit < stock.end() { BULK_MESSAGES } else { 1 };
        let mut any = false;
        for outlet in &mut self.outlets {
            outlet.follow(journal.instance(), journal.ledger());
            while outlet.send_frame(&mut self.message, journal.ledger(), &self.stock)? {
                any = true;
            }
            if self.finishing {
                outlet.ask_for_total(&mut self.message, journal.ledger())?;
            }
        }
        Ok(any)
    }

    /// What a worker has not executed of its own, and is not at: of what it was sent, or of all if it has no queue.
    pub(crate) fn left(&self, worker: WorkerId, ledger: &Ledger) -> Option<Left> {
        let (outlet, finishing) = (&self.outlets[worker.index()], self.finishing);
        let executed = ledger.cell(worker).executed();
        let in_hand = ledger.cell(worker).in_hand(executed).unwrap_or_default();
        if in_hand.state != HandState::Left {
            return None; // a COMMAND may take as long as it wants
        }
        let total = finishing && !ledger.cell(worker).is_done();
        let due = self.stock.workers.share(worker, self.stock.end()) + u64::from(total);
        let queued = outlet.load().map(|load| load.messages);
        let due = if queued.is_some() { outlet.sent } else { due };
        let messages = due.saturating_sub(executed);
        // Also if it takes nothing of what others put into its queue.
        (messages > 0 || queued > Some(0)).then_some(Left { executed, messages, queued, finishing })
    }
}

#[cfg(test)]
mod tests {
    use common::fence::message_queue::MessageQueue;
    use common::fence::shared_memory;
    use common::grammar::submission::Submission;
    use common::instance::Instance;
    use common::log::advance::Advance;
    use common::queue;

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
        let mut journal = session(&instance, &["a;2"]);
        journal.accept(&[Submission::parse(b"b;3").unwrap()]).unwrap();
        let before = journal.cursors().unwrap();
        let mut dispatch = Dispatch::new(Workers::new(1).unwrap(), &before);
        journal.ledger().set_received(5);
        journal.ledger().cell(worker()).set_executed(2);
        while journal.advance().unwrap() == Advance::Wrote {}
        dispatch.take(journal.ledger(), &before).unwrap();
        remove(&journal);
        assert_eq!(dispatch.stock.bounds(), [(2, 5)]);
    }

    /// Another program had lowered the counter: nothing seemed ready any more, and all slept for ever.
    #[test]
    fn a_lowered_counter_of_what_was_received_stopped_everything() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let journal = session(&instance, &["a;2"]);
        let at = journal.cursors().unwrap();
        let mut dispatch = Dispatch::new(Workers::new(1).unwrap(), &at);
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
            let mut dispatch = Dispatch::new(Workers::new(1).unwrap(), &journal.cursors().unwrap());
            dispatch.take(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            while journal.advance().unwrap() == Advance::Wrote {}
            let queue: MessageQueue = queue::fresh(&instance, journal.ledger(), worker()).unwrap();
            journal.ledger().cell(worker()).set_queue(queue.0);
            dispatch.outlets[0].follow(&instance, journal.ledger());
            journal.ledger().cell(worker()).set_executed(2);
            while journal.advance().unwrap() == Advance::Wrote {}
            let sent = later.map(|later| journal.accept(&[later]).unwrap()).is_some();
            dispatch.take(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            while journal.advance().unwrap() == Advance::Wrote {}
            let at = journal.cursors().unwrap();
            dispatch.send(&journal, &at).unwrap();
            let messages = queue::load(queue, queue::mark(&instance)).unwrap().messages;
            queue.remove().unwrap();
            remove(&journal);
            assert_eq!(messages, u64::from(sent));
        }
    }
}
