//! The way to one worker: its queue, and what this life of the worker was sent through it.

use common::error::{Error, exit};
use common::fence::message_queue::{MESSAGE_LEN_MAX, Message, MessageQueue, QueueStat};
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::ledger::Ledger;
use common::queue;
use common::queue::frame::FRAME_LEN_MIN;
use common::queue::message::{begin_frame, put_total_is_due};
use nix::errno::Errno;

use crate::stock::Stock;

/// Frames are about so long: four fill a queue of the default size (16 KiB), which measured best.
const FRAME_LEN: usize = 4096;
/// But a frame with a long text has room for so many messages.
const MESSAGES_MIN: usize = 256;

pub(crate) struct Outlet {
    worker: WorkerId,
    /// The life of the worker that all of this is about.
    generation: Option<u32>,
    pub(crate) queue: Option<MessageQueue>,
    /// Of a message in it that is not for the worker.
    mark: i64,
    /// Messages sent to this life of the worker, counted from the session's start.
    pub(crate) sent: u64,
    /// Bytes of the next message's text that are sent already.
    text_at: usize,
    /// The queue takes no longer message.
    len_max: usize,
    /// The queue was full when the worker had executed so many.
    full_at: Option<u64>,
    asked_for_total: bool,
}

impl Outlet {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            generation: None,
            queue: None,
            mark: 0,
            sent: 0,
            text_at: 0,
            len_max: MESSAGE_LEN_MAX,
            full_at: None,
            asked_for_total: false,
        }
    }

    /// Begins anew where the worker says that it has another queue: from what it has executed.
    pub(crate) fn follow(&mut self, instance: &Instance, ledger: &Ledger) {
        let (generation, id) = ledger.cell(self.worker).queue();
        if self.generation != Some(generation) {
            // Else it has not come yet; or its queue is gone, or the ledger damaged: see left().
            let is_own = |queue: &_| queue::is_of(instance, self.worker, *queue);
            *self = Self {
                generation: Some(generation),
                queue: Some(MessageQueue(id)).filter(is_own),
                mark: queue::mark(instance),
                sent: ledger.cell(self.worker).executed(),
                ..Self::new(self.worker)
            };
        }
    }

    /// Sends one frame, if it fits. Returns whether another one may follow.
    pub(crate) fn send_frame(
        &mut self,
        message: &mut Message,
        ledger: &Ledger,
        stock: &Stock,
    ) -> Result<bool, Error> {
        let Some(queue) = self.queue else { return Ok(false) };
        let executed = ledger.cell(self.worker).executed();
        if self.sent < executed {
            // Frames of an earlier balancer's are still in it.
            (self.sent, self.text_at) = (executed, 0);
        }
        if self.sent.saturating_add(stock.least) > stock.workers.share(self.worker, stock.limit) {
            // Nothing to send, so nothing to wait for either.
            self.full_at = None;
            return Ok(false);
        }
        if self.full_at == Some(executed) {
            return Ok(false);
        }
        let Some((len, sent, text_at)) = self.fill(message, ledger, stock)? else {
            return Ok(false);
        };
        match queue.try_send(message, len) {
            Ok(()) => (self.sent, self.text_at, self.full_at) = (sent, text_at, None),
            Err(Errno::EAGAIN) => {
                self.full_at = Some(ledger.cell(self.worker).executed());
                let Some(load) = self.load().filter(|load| load.messages == 0) else {
                    return Ok(false);
                };
                // Full of nothing: it takes less than this frame. Try a smaller one. (If it takes as much,
                // the worker has emptied it meanwhile.)
                self.full_at = None;
                if len as u64 > load.bytes_max {
                    self.shrink(load.bytes_max as usize)?;
                }
            }
            Err(error) => self.not_sent(queue, len, error)?,
        }
        Ok(true)
    }

    /// What is in its queue, and fits into it.
    pub(crate) fn load(&self) -> Option<QueueStat> {
        queue::load(self.queue?, self.mark).ok()
    }

    /// Fills the message with a frame. Returns its length, and what is sent with it: so many messages, and so
    /// much of the next one's text. Nothing: there is none.
    fn fill(
        &self,
        message: &mut Message,
        ledger: &Ledger,
        stock: &Stock,
    ) -> Result<Option<(usize, u64, usize)>, Error> {
        let (workers, mut own, mut text_at) = (stock.workers, self.sent, self.text_at);
        let mut number = workers.message_of(self.worker, own);
        let mut parts = stock.from(number);
        let mut next = parts.find(number);
        let text_len = next.as_ref().map_or(0, |part| part.submission.text().len());
        let len = FRAME_LEN.max(32 + text_len + MESSAGES_MIN * 4).min(self.len_max);
        let mut writer = begin_frame(message, len, ledger.session(), own);
        while let Some(part) = next {
            // Within its submission a message has an index that fits: the count is a u32.
            let index = number.checked_sub(part.base).ok_or_else(|| {
                ledger.damaged("a worker has executed less than is logged to its last line")
            })? as u32
                + 1;
            let n = u64::from(workers.get());
            let left = (part.end - number).div_ceil(n);
            let text = part.submission.text().as_bytes();
            let Some(pushed) = writer.push(text, text_at, index, workers.get(), left) else {
                break;
            };
            own += pushed.messages as u64;
            text_at = if pushed.text_at == text.len() { 0 } else { pushed.text_at };
            if (pushed.messages as u64) < left {
                break; // full
            }
            number = workers.message_of(self.worker, own);
            // Of a file of lines these are nearly all: together they take half the time.
            for text in parts.lone(number, n as usize) {
                if !writer.push_lone(text.as_bytes()) {
                    break;
                }
                (own, number) = (own + 1, number + n);
            }
            next = parts.find(number);
        }
        let any = (own, text_at) != (self.sent, self.text_at);
        Ok(any.then(|| (writer.finish(), own, text_at)))
    }

    /// Asks the worker for its total.
    pub(crate) fn ask_for_total(
        &mut self,
        message: &mut Message,
        ledger: &Ledger,
    ) -> Result<(), Error> {
        let asked = self.asked_for_total || ledger.cell(self.worker).is_done();
        let Some(queue) = self.queue.filter(|_| !asked) else { return Ok(()) };
        let len = put_total_is_due(message, ledger.session());
        match queue.try_send(message, len) {
            Ok(()) => self.asked_for_total = true,
            Err(error) => self.not_sent(queue, len, error)?,
        }
        Ok(())
    }

    fn not_sent(&mut self, queue: MessageQueue, len: usize, error: Errno) -> Result<(), Error> {
        match error {
            Errno::EAGAIN | Errno::EINTR => Ok(()),
            // Longer than kernel.msgmax.
            Errno::EINVAL if queue.stat().is_ok() => {
                self.shrink((len / 2).max(FRAME_LEN_MIN).min(len - 1))
            }
            // Removed by others: ask for a new one.
            Errno::EIDRM | Errno::EINVAL => self.lose(),
            error => Err(queue::error(self.worker, "msgsnd")(error)),
        }
    }

    fn shrink(&mut self, len_max: usize) -> Result<(), Error> {
        self.len_max = len_max;
        if len_max >= FRAME_LEN_MIN {
            return Ok(());
        }
        // The next start finds another one.
        self.lose()?;
        let what = format!(
            "the message queue takes only {len_max} bytes and a frame needs {FRAME_LEN_MIN}; raise kernel.msgmnb and \
             kernel.msgmax"
        );
        Err(Error::Own { what, code: exit::TROUBLE })
    }

    /// Asks for another queue. The worker, if it waits in this one, notices.
    fn lose(&mut self) -> Result<(), Error> {
        self.queue.take().map_or(Ok(()), |queue| queue::remove(self.worker, queue))
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

    /// After sleeping. After a long sleep a full queue is tried again, whatever its worker has done; and the
    /// total is asked for again, since others may have taken the request out of the queue.
    pub(crate) fn awake(&mut self, ledger: &Ledger, long: bool) {
        if let Some(executed) = self.full_at {
            ledger.cell(self.worker).set_wake_at(u64::MAX);
            // Or the queue was full of pieces of a text, or of others' messages: that they were
            // taken out does not show in what is executed.
            if long || self.text_at > 0 || self.sent <= executed {
                self.full_at = None;
            }
        }
        self.asked_for_total &= !long;
    }
}
