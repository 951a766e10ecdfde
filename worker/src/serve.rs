//! A worker's life: get a queue, take frames from it, execute, count, log.

use std::ops::ControlFlow::{self, Break, Continue};
use std::thread;
use std::time::{Duration, Instant};

use common::error::{Error, signal_exit_code};
use common::fence::message_queue::{Message, MessageQueue};
use common::fence::signals;
use common::frame::{FrameReader, KIND_FINISH, KIND_FRAME};
use common::journal::{Advance, Journal, Ready};
use common::role::Role;
use common::rotation::WorkerId;
use common::session;
use nix::errno::Errno;

use crate::execute::Executor;

/// How often a worker without a queue looks whether the ledger is still there.
const TICK: Duration = Duration::from_secs(1);
/// How long a balancer that has just been started may take to say its own N.
const N_PATIENCE: Duration = Duration::from_millis(200);
/// Tries with a yield before a worker sleeps in its queue: a wake-up costs the balancer more.
const TRIES: u32 = 3;
/// With so many lines ready a busy worker logs them; fewer it leaves to whoever is idle first, unless they
/// are all that there is.
const READY_MANY: u64 = 8192;

pub(crate) struct Server<'a> {
    journal: &'a mut Journal,
    worker: WorkerId,
    executor: &'a mut Executor,
    message: Box<Message>,
    told_no_room: bool,
}

impl<'a> Server<'a> {
    pub(crate) fn new(
        journal: &'a mut Journal,
        worker: WorkerId,
        executor: &'a mut Executor,
    ) -> Self {
        Self { journal, worker, executor, message: Message::boxed(), told_no_room: false }
    }

    /// Lives until its total is logged, or will be by others, or a signal ends it. Returns the exit code.
    pub(crate) fn run(&mut self) -> Result<u8, Error> {
        loop {
            let served = match self.wait_for_queue()? {
                Continue(queue) => self.serve(queue)?,
                Break(code) => Break(code),
            };
            if let Break(code) = served {
                return Ok(code);
            }
        }
    }

    /// Begins a life, and waits until the balancer has a queue for it.
    fn wait_for_queue(&mut self) -> Result<ControlFlow<u8, MessageQueue>, Error> {
        let mut beyond_since = None;
        'ledger: loop {
            let ledger = self.journal.ledger();
            let generation = ledger.begin_generation(self.worker);
            if ledger.generations(self.worker).1 != generation {
                ledger.doorbell().ring();
            }
            loop {
                let seen = ledger.stage().look();
                if let Some(code) = asked_to_end() {
                    return Ok(Break(code));
                }
                // Before the look at the cursors: if it was removed after its end, they tell of that.
                let removed = ledger.is_removed();
                let at = ledger.cursors()?;
                if at.is_ended() {
                    return Ok(Break(0));
                }
                if removed {
                    self.journal.reopen()?;
                    continue 'ledger;
                }
                let mut limit = TICK;
                // An N that no live balancer stands for may be an old one's.
                if let Some(workers) = at.workers().filter(|n| self.worker.get() > n.get())
                    && self.journal.instance().is_held_by_another(Role::Balancer)?
                {
                    let since = *beyond_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= N_PATIENCE {
                        let worker = self.worker.get();
                        return Err(Error::NoSuchWorker { worker, workers: workers.get() });
                    }
                    limit = N_PATIENCE;
                } else {
                    beyond_since = None;
                }
                let (_, queue_for) = ledger.generations(self.worker);
                match queue_for.wrapping_sub(generation).cast_signed() {
                    0 => {
                        let queue = MessageQueue(ledger.queue(self.worker));
                        if session::is_queue_of(self.journal.instance(), self.worker, queue) {
                            return Ok(Continue(queue));
                        }
                        continue 'ledger; // it is gone already, or the ledger is damaged
                    }
                    // The queue of this life was replaced before it was seen: its balancer died, and
                    // the next one took this life for over.
                    1.. => continue 'ledger,
                    _ => {}
                }
                ledger.stage().sleep(seen, limit)?;
            }
        }
    }

    /// Serves a queue until it is gone, frames are missing, or the worker ends.
    fn serve(&mut self, queue: MessageQueue) -> Result<ControlFlow<u8>, Error> {
        let mut reader = FrameReader::default();
        loop {
            if let Some(code) = asked_to_end() {
                return Ok(Break(code));
            }
            let received = match self.receive_soon(queue) {
                Err(Errno::ENOMSG) => {
                    self.log_ready()?;
                    queue.receive(&mut self.message)
                }
                received => received,
            };
            match received {
                Ok(len) if self.message.kind() == KIND_FINISH && self.is_finish(len) => {
                    self.journal.ledger().set_finished(self.worker);
                    self.log_ready()?;
                    self.journal.ledger().doorbell().ring();
                    return Ok(Break(0));
                }
                Ok(len) => {
                    match self.execute_frame(&mut reader, len, queue) {
                        Ok(true) => {}
                        Ok(false) => return Ok(Continue(())),
                        // Asked to end, it no longer waited for the reader of its output.
                        Err(error) => return asked_to_end().map(Break).ok_or(error),
                    }
                    // All: nothing else is on its way, so there is nothing to wait for.
                    if let Ready::Executed { lines: READY_MANY.., .. }
                    | Ready::Executed { all: true, .. } = self.journal.ready()?
                    {
                        self.advance()?;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EIDRM | Errno::EINVAL) => return Ok(Continue(())),
                Err(error) => {
                    return Err(Error::Ipc {
                        object: format!("message queue of worker {}", self.worker),
                        call: "msgrcv",
                        source: error,
                    });
                }
            }
        }
    }

    fn receive_soon(&mut self, queue: MessageQueue) -> Result<usize, Errno> {
        for _ in 0..TRIES {
            match queue.try_receive(&mut self.message) {
                Err(Errno::ENOMSG) => thread::yield_now(),
                received => return received,
            }
        }
        Err(Errno::ENOMSG)
    }

    fn is_finish(&self, len: usize) -> bool {
        self.message.bytes()[..len] == self.journal.ledger().session().to_le_bytes()
    }

    /// Executes what is new in a frame, and counts it. Returns false if messages before it are
    /// missing: another program took them out of the queue.
    fn execute_frame(
        &mut self,
        reader: &mut FrameReader,
        len: usize,
        queue: MessageQueue,
    ) -> Result<bool, Error> {
        let ledger = self.journal.ledger();
        let before = ledger.executed(self.worker);
        let mut next = before;
        let mut complete = true;
        let mut executed = Ok(());
        let executor = &mut *self.executor;
        let read = if self.message.kind() == KIND_FRAME {
            reader.read(&self.message.bytes()[..len], ledger.session(), |own, text, indices| {
                complete &= own <= next;
                // Earlier ones are duplicates: sent again after a death.
                let duplicates = usize::try_from(next.saturating_sub(own)).unwrap_or(usize::MAX);
                for index in indices.skip(duplicates) {
                    if complete && executed.is_ok() {
                        executed = executor.execute(text, index);
                        next += 1;
                    }
                }
            })
        } else {
            Err(common::frame::FrameError::Stranger)
        };
        executed.map_err(Error::system("standard output"))?;
        executor.flush()?;
        if let Err(error) = read {
            common::tell!(
                "worker {}: ignored a message of {len} bytes in its queue (id {}): {error}",
                self.worker,
                queue.0
            );
            ledger.doorbell().ring();
            return Ok(true);
        }
        if next > before {
            ledger.set_executed(self.worker, next);
            if ledger.wants_wake(self.worker, next) {
                ledger.doorbell().ring();
            }
        } else {
            // A piece of a text: the balancer may wait for its room, and cannot see it otherwise.
            ledger.doorbell().ring();
        }
        Ok(complete)
    }

    /// Before sleeping: writes all lines that are ready. If somebody else holds the lock, he looks
    /// again after letting it go; but a foreign program does not, so the balancer is told.
    fn log_ready(&mut self) -> Result<(), Error> {
        if matches!(self.journal.ready()?, Ready::Received | Ready::Pending) {
            // The balancer is at it, or asleep: it may be this worker's line that others waited for.
            self.journal.ledger().doorbell().ring();
            return Ok(());
        }
        loop {
            match self.advance()? {
                Advance::Wrote => {}
                Advance::Nothing => return Ok(()),
                Advance::Busy => {
                    self.journal.ledger().doorbell().ring();
                    return Ok(());
                }
            }
        }
    }

    /// One transaction. A full disk is reported once; the balancer tries again and again.
    fn advance(&mut self) -> Result<Advance, Error> {
        match self.journal.advance() {
            Err(error) if error.is_no_room() => {
                if !std::mem::replace(&mut self.told_no_room, true) {
                    common::tell!("worker {}: {error}", self.worker);
                }
                Ok(Advance::Busy)
            }
            advanced => advanced,
        }
    }
}

fn asked_to_end() -> Option<u8> {
    signals::aborted_by().map(signal_exit_code)
}
