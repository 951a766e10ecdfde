//! Forwards messages: which are taken, what each worker has been sent, and the frames to it.
//!
//! Each worker has a queue of its own, so a worker that stands still fills only that: the kernel's
//! limit on a queue is the credit. Sending never blocks.

use std::collections::VecDeque;

use common::cursors::Cursors;
use common::error::Error;
use common::fence::message_queue::{MESSAGE_LEN_MAX, Message, MessageQueue};
use common::frame::{FRAME_LEN_MIN, FrameWriter, KIND_FINISH, KIND_FRAME};
use common::instance::Instance;
use common::ledger::Ledger;
use common::rotation::{WorkerId, Workers};
use common::session;
use nix::errno::Errno;

/// Frames are about so long: four fill a queue of the default size (16 KiB), which measured best.
const FRAME_LEN: usize = 4096;
/// In bulk, a frame is sent once there are so many messages for it: a wake-up for each few, of each of
/// 256 workers, took five times as long as all the rest.
const BULK_MESSAGES: u64 = 512;
/// But a frame with a long text has room for so many messages.
const MESSAGES_MIN: usize = 256;

/// A submission in the ledger's ring that the balancer has taken.
struct Taken {
    position: u64,
    base: u64,
    count: u64,
}

/// The way to one worker.
struct Outlet {
    worker: WorkerId,
    queue: Option<MessageQueue>,
    /// Messages sent to this life of the worker, counted from the session's start.
    sent: u64,
    /// Bytes of the next message's text that are sent already.
    text_at: usize,
    /// The queue takes no longer message.
    len_max: usize,
    /// The queue was full when the worker had executed so many.
    full_at: Option<u64>,
    finish_sent: bool,
}

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
        let outlet = |worker| Outlet {
            worker,
            queue: None,
            sent: 0,
            text_at: 0,
            len_max: MESSAGE_LEN_MAX,
            full_at: None,
            finish_sent: false,
        };
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
            outlets: workers.ids().map(outlet).collect(),
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
        if self.next_position > before {
            ledger.set_received(self.next_base);
        }
        Ok(self.next_position > before)
    }

    /// Messages before this one may be forwarded. A message is logged before it is forwarded; only
    /// while the log still waits for workers to execute an earlier submission are later ones sent
    /// ahead, having been received in the ledger: their lines follow, in their order.
    fn forward_limit(&self, ledger: &Ledger, at: &Cursors) -> u64 {
        let count = ledger.peek_count(at.head);
        if !at.all_logged() && at.line < count {
            (at.base + at.line).min(self.next_base)
        } else {
            self.next_base
        }
    }

    /// Gives every worker a fresh queue whose queue is missing or for an earlier life.
    pub(crate) fn renew_where_asked(
        &mut self,
        instance: &Instance,
        ledger: &Ledger,
    ) -> Result<(), Error> {
        for index in 0..self.outlets.len() {
            let claimed = claimed_life(ledger, self.outlets[index].worker).is_ok();
            if claimed || self.outlets[index].queue.is_none() {
                self.renew(index, instance, ledger)?;
            }
        }
        Ok(())
    }

    /// A worker is dead: what was on the way to it goes to its next life.
    pub(crate) fn lost(&mut self, worker: WorkerId) {
        self.outlets[worker.index()].queue = None;
    }

    fn renew(&mut self, index: usize, instance: &Instance, ledger: &Ledger) -> Result<(), Error> {
        let outlet = &mut self.outlets[index];
        let queue = session::fresh_queue(instance, outlet.worker)?;
        // For a life that waits for a queue; else for the next one, which then need not wait.
        let new = claimed_life(ledger, outlet.worker).unwrap_or_else(|next| next);
        ledger.set_queue(outlet.worker, new, queue.0);
        outlet.queue = Some(queue);
        outlet.sent = ledger.executed(outlet.worker);
        outlet.text_at = 0;
        outlet.len_max = MESSAGE_LEN_MAX.min(self.msgmax);
        outlet.full_at = None;
        outlet.finish_sent = false;
        ledger.stage().ring();
        Ok(())
    }

    /// Sends what may be sent and fits. Returns whether anything was.
    pub(crate) fn send(&mut self, ledger: &Ledger, at: &Cursors) -> Result<bool, Error> {
        let limit = self.forward_limit(ledger, at);
        // While more received lines are to come, nothing executed can be logged yet: no hurry, so
        // frames wait until they are worth sending.
        let least = if limit < self.next_base { BULK_MESSAGES } else { 1 };
        let mut any = false;
        for index in 0..self.outlets.len() {
            while self.send_frame(index, limit, least, ledger)? {
                any = true;
            }
        }
        Ok(any)
    }

    fn send_frame(
        &mut self,
        index: usize,
        limit: u64,
        least: u64,
        ledger: &Ledger,
    ) -> Result<bool, Error> {
        let Self { outlets, taken, message, workers, .. } = self;
        let outlet = &mut outlets[index];
        let Some(queue) = outlet.queue else { return Ok(false) };
        let executed = ledger.executed(outlet.worker);
        if outlet.sent < executed {
            // An earlier life was still at work when this queue was made for the next one.
            (outlet.sent, outlet.text_at) = (executed, 0);
        }
        let share = workers.share(outlet.worker, limit);
        if outlet.sent.saturating_add(least) > share {
            // Nothing to send, so nothing to wait for either.
            outlet.full_at = None;
            return Ok(false);
        }
        if outlet.full_at == Some(executed) {
            return Ok(false);
        }
        let mut next = (outlet.sent, outlet.text_at);
        let len = fill(message, ledger, taken, *workers, outlet, share, &mut next)?;
        if len == 0 {
            return Ok(ledger.executed(outlet.worker) > outlet.sent);
        }
        match queue.try_send(message, len) {
            Ok(()) => {
                (outlet.sent, outlet.text_at) = next;
                outlet.full_at = None;
                Ok(true)
            }
            Err(Errno::EAGAIN) => {
                outlet.full_at = Some(ledger.executed(outlet.worker));
                match queue.stat() {
                    // Full of nothing: it takes less than this frame. Try a smaller one. (If it
                    // takes as much, the worker has emptied it meanwhile.)
                    Ok(stat) if stat.messages == 0 => {
                        outlet.full_at = None;
                        let fits = len as u64 <= stat.bytes_max;
                        if fits { Ok(true) } else { shrink(outlet, stat.bytes_max, len) }
                    }
                    _ => Ok(false),
                }
            }
            Err(Errno::EINTR) => Ok(true),
            // Removed by others: ask for a new one.
            Err(Errno::EIDRM) => Ok(lose(outlet)),
            Err(Errno::EINVAL) if queue.stat().is_err() => Ok(lose(outlet)),
            // Longer than kernel.msgmax, which was lowered.
            Err(Errno::EINVAL) => shrink(outlet, (len / 2) as u64, len),
            Err(error) => Err(send_error(outlet.worker, error)),
        }
    }

    /// Has each worker log its total.
    pub(crate) fn send_finish(&mut self, ledger: &Ledger) -> Result<(), Error> {
        for outlet in &mut self.outlets {
            let asked = outlet.finish_sent || ledger.is_finished(outlet.worker);
            let Some(queue) = outlet.queue.filter(|_| !asked) else { continue };
            self.message.set_kind(KIND_FINISH);
            self.message.bytes_mut()[..8].copy_from_slice(&ledger.session().to_le_bytes());
            match queue.try_send(&self.message, 8) {
                Ok(()) => outlet.finish_sent = true,
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::EIDRM | Errno::EINVAL) => {
                    lose(outlet);
                }
                Err(error) => return Err(send_error(outlet.worker, error)),
            }
        }
        Ok(())
    }

    /// Before sleeping: has workers whose queue is full ring when half of what they have is
    /// executed. Returns false if one is that far already.
    pub(crate) fn may_sleep(&mut self, ledger: &Ledger) -> bool {
        self.outlets.iter_mut().all(|outlet| {
            let Some(executed) = outlet.full_at else { return true };
            // At least one, or it would not sleep while nothing but pieces of a text is on the way.
            let some = outlet.sent.saturating_sub(executed).div_ceil(2).max(1);
            let wake_at = executed.saturating_add(some);
            ledger.set_wake_at(outlet.worker, wake_at);
            ledger.executed(outlet.worker) < wake_at
        })
    }

    /// After sleeping.
    pub(crate) fn awake(&mut self, ledger: &Ledger) {
        for outlet in &mut self.outlets {
            if let Some(executed) = outlet.full_at {
                ledger.set_wake_at(outlet.worker, u64::MAX);
                // The queue was full of pieces of a text, or of others' messages: that they were
                // taken out does not show in what is executed.
                if outlet.text_at > 0 || outlet.sent <= executed {
                    outlet.full_at = None;
                }
            }
        }
    }

    /// Tries full queues again, whatever their workers have done; and asks for totals again, since
    /// others may have taken the request out of the queue.
    pub(crate) fn retry(&mut self) {
        for outlet in &mut self.outlets {
            outlet.full_at = None;
            outlet.finish_sent = false;
        }
    }

    /// Whether a worker's queue is empty although it has not executed all that was sent.
    pub(crate) fn is_drained(&self, worker: WorkerId, ledger: &Ledger) -> bool {
        let outlet = &self.outlets[worker.index()];
        outlet.sent > ledger.executed(worker)
            && outlet.queue.is_some_and(|queue| queue.stat().is_ok_and(|stat| stat.messages == 0))
    }
}

/// Fills the message with a frame for one worker; `next` moves over what is in it.
fn fill(
    message: &mut Message,
    ledger: &Ledger,
    taken: &VecDeque<Taken>,
    workers: Workers,
    outlet: &Outlet,
    share: u64,
    next: &mut (u64, usize),
) -> Result<usize, Error> {
    message.set_kind(KIND_FRAME);
    let (mut own, mut text_at) = *next;
    let mut at =
        taken.partition_point(|t| t.base + t.count <= workers.message_of(outlet.worker, own));
    let mut writer: Option<FrameWriter<'_>> = None;
    let mut bytes = Some(&mut message.bytes_mut()[..]);
    while own < share {
        let Some(submission) = taken.get(at) else { break };
        let number = workers.message_of(outlet.worker, own);
        if number >= submission.base + submission.count {
            at += 1;
            continue;
        }
        let record = ledger.read_submission(submission.position);
        if ledger.executed(outlet.worker) > own {
            // Again by an earlier life, since send_frame() looked: the record may be overwritten.
            return Ok(0);
        }
        let record = record?;
        let text = record.text().as_bytes();
        if let Some(bytes) = bytes.take() {
            let long = 32 + text.len() + MESSAGES_MIN * 4;
            let len = FRAME_LEN.max(long).min(outlet.len_max);
            writer = Some(FrameWriter::new(&mut bytes[..len], ledger.session(), own));
        }
        let Some(writer) = &mut writer else { break };
        let end = workers.share(outlet.worker, submission.base + submission.count).min(share);
        // Within its submission a message has an index that fits: the count is a u32.
        let index = (number - submission.base) as u32 + 1;
        let Some(pushed) = writer.push(text, text_at, index, workers.get(), end - own) else {
            break;
        };
        own += pushed.messages as u64;
        text_at = if pushed.text_at == text.len() { 0 } else { pushed.text_at };
        if own < end {
            break; // full
        }
    }
    *next = (own, text_at);
    Ok(writer.map_or(0, |writer| writer.len()))
}

/// The life of a worker that waits for a queue; if none does, the number of its next one.
fn claimed_life(ledger: &Ledger, worker: WorkerId) -> Result<u32, u32> {
    let (generation, queue_generation) = ledger.generations(worker);
    let claimed = generation.wrapping_sub(queue_generation).cast_signed() > 0;
    if claimed { Ok(generation) } else { Err(generation.wrapping_add(1)) }
}

/// Marks an outlet's queue as gone.
fn lose(outlet: &mut Outlet) -> bool {
    outlet.queue = None;
    true
}

fn shrink(outlet: &mut Outlet, bytes_max: u64, tried: usize) -> Result<bool, Error> {
    let len_max = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(tried.saturating_sub(1));
    if len_max < FRAME_LEN_MIN {
        return Err(Error::QueueTooSmall { bytes_max, needed: FRAME_LEN_MIN });
    }
    outlet.len_max = len_max;
    Ok(true)
}

fn send_error(worker: WorkerId, error: Errno) -> Error {
    Error::Ipc {
        object: format!("message queue of worker {worker}"),
        call: "msgsnd",
        source: error,
    }
}

#[cfg(test)]
mod tests {
    use common::journal::{Advance, Journal};
    use common::submission::Submission;

    use super::*;

    /// Workers that outlived a balancer logged a submission to its last line between the next one's look
    /// at the cursors and at the ring, where a client may have written another one since.
    #[test]
    fn what_was_logged_before_it_was_taken_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(Instance::open(dir.path()).unwrap()).unwrap().0;
        let (workers, worker) = (Workers::new(1).unwrap(), WorkerId::new(1).unwrap());
        journal.set_workers(workers).unwrap();
        let two = ["a;2", "b;3"].map(|text| Submission::parse(text.as_bytes()).unwrap());
        journal.accept(&two).unwrap();
        let before = journal.cursors().unwrap();
        let mut dispatch = Dispatch::new(workers, &before).unwrap();
        journal.ledger().set_received(5);
        journal.ledger().set_executed(worker, 2);
        while journal.advance().unwrap() == Advance::Wrote {}
        dispatch.take(journal.ledger(), &before).unwrap();
        let at = journal.cursors().unwrap();
        session::remove(journal.instance(), journal.ledger(), &at).unwrap();
        assert_eq!(dispatch.next_base, 5);
        assert_eq!(dispatch.taken.iter().map(|taken| taken.base).collect::<Vec<_>>(), [2]);
    }

    /// A worker's earlier life executed a submission while a queue was made for its next one. Going on from
    /// where the queue began, frames without a message were sent without end, or a difference overflowed.
    #[test]
    fn what_an_earlier_life_executed_meanwhile_is_not_sent() {
        for later in [None, Some(Submission::parse(b"b;1").unwrap())] {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(Instance::open(dir.path()).unwrap()).unwrap().0;
            let (workers, worker) = (Workers::new(1).unwrap(), WorkerId::new(1).unwrap());
            journal.set_workers(workers).unwrap();
            journal.accept(&[Submission::parse(b"a;2").unwrap()]).unwrap();
            let mut dispatch = Dispatch::new(workers, &journal.cursors().unwrap()).unwrap();
            dispatch.take(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            while journal.advance().unwrap() == Advance::Wrote {}
            dispatch.renew_where_asked(journal.instance(), journal.ledger()).unwrap();
            journal.ledger().set_executed(worker, 2);
            while journal.advance().unwrap() == Advance::Wrote {}
            let sent = later.map(|later| journal.accept(&[later]).unwrap()).is_some();
            dispatch.take(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            while journal.advance().unwrap() == Advance::Wrote {}
            dispatch.send(journal.ledger(), &journal.cursors().unwrap()).unwrap();
            let queue = dispatch.outlets[0].queue.unwrap();
            let messages = queue.stat().unwrap().messages;
            let at = journal.cursors().unwrap();
            session::remove(journal.instance(), journal.ledger(), &at).unwrap();
            assert_eq!(messages, u64::from(sent));
        }
    }
}
