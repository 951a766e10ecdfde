//! The way to one worker: its queue, and what this life of the worker was sent through it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::error::Error;
use common::fence::message_queue::{MESSAGE_LEN_MAX, Message, MessageQueue};
use common::frame::{FRAME_LEN_MIN, FrameWriter, KIND_FINISH, KIND_FRAME};
use common::instance::Instance;
use common::ledger::Ledger;
use common::rotation::{WorkerId, Workers};
use common::session;
use nix::errno::Errno;

/// For so long a worker may not have executed what is its own.
const RESEND_AFTER: Duration = Duration::from_secs(3);
/// Frames are about so long: four fill a queue of the default size (16 KiB), which measured best.
const FRAME_LEN: usize = 4096;
/// But a frame with a long text has room for so many messages.
const MESSAGES_MIN: usize = 256;

/// A submission in the ledger's ring that the balancer has taken.
pub(crate) struct Taken {
    pub(crate) position: u64,
    pub(crate) base: u64,
    pub(crate) count: u64,
}

/// What may be sent now.
pub(crate) struct Stock<'a> {
    pub(crate) taken: &'a VecDeque<Taken>,
    pub(crate) workers: Workers,
    /// Messages before this one.
    pub(crate) limit: u64,
    /// A frame is worth sending with so many for its worker.
    pub(crate) least: u64,
}

pub(crate) struct Outlet {
    worker: WorkerId,
    /// The life of the worker that all of this is about.
    generation: Option<u32>,
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
    /// Since when not all is executed although nothing is in its queue, and how much was then.
    drained: Option<(Instant, u64)>,
}

impl Outlet {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            generation: None,
            queue: None,
            sent: 0,
            text_at: 0,
            len_max: MESSAGE_LEN_MAX,
            full_at: None,
            finish_sent: false,
            drained: None,
        }
    }

    /// Begins anew where the worker says that it has another queue: from what it has executed.
    pub(crate) fn follow(&mut self, instance: &Instance, ledger: &Ledger, msgmax: usize) {
        let (generation, id) = ledger.cell(self.worker).queue();
        if self.generation == Some(generation) {
            return;
        }
        let queue = MessageQueue(id);
        *self = Self::new(self.worker);
        self.generation = Some(generation);
        self.sent = ledger.cell(self.worker).executed();
        self.len_max = MESSAGE_LEN_MAX.min(msgmax);
        // Else it has not come yet; or its queue is gone, or the ledger damaged: see watch().
        self.queue =
            Some(queue).filter(|&queue| session::is_queue_of(instance, self.worker, queue));
    }

    /// Asks for another queue: this one is gone, or frames were taken out of it. The worker, if it
    /// waits in it, notices.
    pub(crate) fn lose(&mut self) -> Result<(), Error> {
        self.queue.take().map_or(Ok(()), |queue| session::remove_queue(self.worker, queue))
    }

    /// Sends one frame, if it fits. Returns whether another one may follow.
    pub(crate) fn send_frame(
        &mut self,
        message: &mut Message,
        ledger: &Ledger,
        stock: &Stock<'_>,
    ) -> Result<bool, Error> {
        let Some(queue) = self.queue else { return Ok(false) };
        let executed = ledger.cell(self.worker).executed();
        if self.sent < executed {
            // Frames of an earlier balancer's are still in it.
            (self.sent, self.text_at) = (executed, 0);
        }
        let share = stock.workers.share(self.worker, stock.limit);
        if self.sent.saturating_add(stock.least) > share {
            // Nothing to send, so nothing to wait for either.
            self.full_at = None;
            return Ok(false);
        }
        if self.full_at == Some(executed) {
            return Ok(false);
        }
        let mut next = (self.sent, self.text_at);
        let len = self.fill(message, ledger, stock, share, &mut next)?;
        if len == 0 {
            return Ok(ledger.cell(self.worker).executed() > self.sent);
        }
        match queue.try_send(message, len) {
            Ok(()) => {
                (self.sent, self.text_at) = next;
                self.full_at = None;
            }
            Err(Errno::EAGAIN) => {
                self.full_at = Some(ledger.cell(self.worker).executed());
                match queue.stat() {
                    // Full of nothing: it takes less than this frame. Try a smaller one. (If it
                    // takes as much, the worker has emptied it meanwhile.)
                    Ok(stat) if stat.messages == 0 => {
                        self.full_at = None;
                        if len as u64 > stat.bytes_max {
                            self.shrink(stat.bytes_max, len)?;
                        }
                    }
                    _ => return Ok(false),
                }
            }
            Err(Errno::EINTR) => {}
            // Removed by others: ask for a new one.
            Err(Errno::EIDRM) => self.lose()?,
            Err(Errno::EINVAL) if queue.stat().is_err() => self.lose()?,
            // Longer than kernel.msgmax, which was lowered.
            Err(Errno::EINVAL) => self.shrink((len / 2) as u64, len)?,
            Err(error) => return Err(self.send_error(error)),
        }
        Ok(true)
    }

    /// Fills the message with a frame; `next` moves over what is in it. Returns its length.
    fn fill(
        &self,
        message: &mut Message,
        ledger: &Ledger,
        Stock { taken, workers, .. }: &Stock<'_>,
        share: u64,
        next: &mut (u64, usize),
    ) -> Result<usize, Error> {
        message.set_kind(KIND_FRAME);
        let (mut own, mut text_at) = *next;
        let mut at =
            taken.partition_point(|t| t.base + t.count <= workers.message_of(self.worker, own));
        let mut writer: Option<FrameWriter<'_>> = None;
        let mut bytes = Some(&mut message.bytes_mut()[..]);
        while own < share {
            let Some(submission) = taken.get(at) else { break };
            let number = workers.message_of(self.worker, own);
            if number >= submission.base + submission.count {
                at += 1;
                continue;
            }
            let record = ledger.read_submission(submission.position);
            if ledger.cell(self.worker).executed() > own {
                // By such frames, since send_frame() looked: the record may be overwritten.
                return Ok(0);
            }
            let record = record?;
            let text = record.text().as_bytes();
            if let Some(bytes) = bytes.take() {
                let long = 32 + text.len() + MESSAGES_MIN * 4;
                let len = FRAME_LEN.max(long).min(self.len_max);
                writer = Some(FrameWriter::new(&mut bytes[..len], ledger.session(), own));
            }
            let Some(writer) = &mut writer else { break };
            let end = workers.share(self.worker, submission.base + submission.count).min(share);
            // Within its submission a message has an index that fits: the count is a u32.
            let index = number.checked_sub(submission.base).ok_or_else(|| {
                ledger.damaged("a worker has executed less than is logged to its last line")
            })? as u32
                + 1;
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

    /// Has the worker log its total.
    pub(crate) fn send_finish(
        &mut self,
        message: &mut Message,
        ledger: &Ledger,
    ) -> Result<(), Error> {
        let asked = self.finish_sent || ledger.cell(self.worker).is_finished();
        let Some(queue) = self.queue.filter(|_| !asked) else { return Ok(()) };
        message.set_kind(KIND_FINISH);
        message.bytes_mut()[..8].copy_from_slice(&ledger.session().to_le_bytes());
        match queue.try_send(message, 8) {
            Ok(()) => self.finish_sent = true,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EIDRM | Errno::EINVAL) => self.lose()?,
            Err(error) => return Err(self.send_error(error)),
        }
        Ok(())
    }

    /// Before sleeping: has a worker whose queue is full ring when half of what it has is executed.
    /// Returns false if it is that far already.
    pub(crate) fn may_sleep(&self, ledger: &Ledger) -> bool {
        let Some(executed) = self.full_at else { return true };
        // At least one, or it would not sleep while nothing but pieces of a text is on the way.
        let some = self.sent.saturating_sub(executed).div_ceil(2).max(1);
        let wake_at = executed.saturating_add(some);
        ledger.cell(self.worker).set_wake_at(wake_at);
        ledger.cell(self.worker).executed() < wake_at
    }

    /// After sleeping.
    pub(crate) fn awake(&mut self, ledger: &Ledger) {
        if let Some(executed) = self.full_at {
            ledger.cell(self.worker).set_wake_at(u64::MAX);
            // The queue was full of pieces of a text, or of others' messages: that they were
            // taken out does not show in what is executed.
            if self.text_at > 0 || self.sent <= executed {
                self.full_at = None;
            }
        }
    }

    /// Tries a full queue again, whatever its worker has done; and asks for the total again, since
    /// others may have taken the request out of the queue.
    pub(crate) fn retry(&mut self) {
        self.full_at = None;
        self.finish_sent = false;
    }

    /// Notices that for a while the worker has not executed what is its own, although its queue is empty, since
    /// another program took the frames; or although it is there, since its queue is not what the ledger says.
    /// Has it make another queue. `due`: so many messages are its own.
    pub(crate) fn watch(
        &mut self,
        instance: &Instance,
        ledger: &Ledger,
        due: u64,
    ) -> Result<(), Error> {
        let executed = ledger.cell(self.worker).executed();
        let due = if self.queue.is_some() { self.sent } else { due };
        let is_empty = |queue: MessageQueue| queue.stat().is_ok_and(|stat| stat.messages == 0);
        if due <= executed || !self.queue.is_none_or(is_empty) {
            self.drained = None;
            return Ok(());
        }
        match self.drained {
            Some((since, then)) if then == executed => {
                if since.elapsed() >= RESEND_AFTER {
                    (self.queue, self.drained) = (None, None);
                    session::remove_queues(instance, |worker| worker == self.worker)?;
                }
            }
            _ => self.drained = Some((Instant::now(), executed)),
        }
        Ok(())
    }

    /// What is its own and is not executed, if the worker leaves anything in its queue, or has none. `due`: so
    /// many messages are its own.
    pub(crate) fn waiting(&self, ledger: &Ledger, due: u64) -> Option<u64> {
        let executed = ledger.cell(self.worker).executed();
        match self.queue {
            Some(queue) => {
                (queue.stat().ok()?.messages > 0).then(|| self.sent.saturating_sub(executed))
            }
            None => due.checked_sub(executed).filter(|&left| left > 0),
        }
    }

    fn shrink(&mut self, bytes_max: u64, tried: usize) -> Result<(), Error> {
        let len_max = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(tried.saturating_sub(1));
        if len_max < FRAME_LEN_MIN {
            // The next start finds another one.
            self.lose()?;
            return Err(Error::QueueTooSmall { bytes_max, needed: FRAME_LEN_MIN });
        }
        self.len_max = len_max;
        Ok(())
    }

    fn send_error(&self, source: Errno) -> Error {
        let object = format!("message queue of worker {}", self.worker);
        Error::Ipc { object, call: "msgsnd", source }
    }
}
