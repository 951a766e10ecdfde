//! A worker's life: make a queue, take frames from it, execute, count, log.

use std::ops::ControlFlow::{self, Break, Continue};
use std::thread;
use std::time::{Duration, Instant};

use common::error::{Error, signal_exit_code};
use common::fence::message_queue::{Message, MessageQueue};
use common::fence::signals;
use common::frame::{FrameReader, KIND_FINISH, KIND_FRAME};
use common::instance::Instance;
use common::journal::{Advance, Journal, Ready};
use common::pause::pause;
use common::rotation::{WorkerId, Workers};
use common::session;
use common::waiting::Watch;
use nix::errno::Errno;

use crate::execute::Executor;

/// How often a worker without a session looks for one, even where nothing seems to happen.
const TICK: Duration = Duration::from_secs(1);
/// How long a balancer that has just been started may take to say its own N.
const N_PATIENCE: Duration = Duration::from_millis(200);
/// Tries with a yield before a worker sleeps in its queue: a wake-up costs the balancer more.
const TRIES: u32 = 3;
/// With so many lines ready a busy worker logs them; fewer it leaves to whoever is idle first, unless they
/// are all that there is.
const READY_MANY: u64 = 8192;

/// Serves session after session of an instance, until the total of one is logged, or will be by others, or a
/// signal ends it: then returns the exit code. Nothing, when the log has become another one.
pub(crate) fn serve(
    instance: &Instance,
    worker: WorkerId,
    executor: &mut Executor,
) -> Result<Option<u8>, Error> {
    let mut beyond = Beyond { worker, since: None };
    loop {
        let journal = match wait_for_session(instance, &mut beyond)? {
            Some(Continue(journal)) => journal,
            Some(Break(code)) => return Ok(Some(code)),
            None => return Ok(None),
        };
        let mut server = Server::new(journal, worker, executor);
        match server.run(&mut beyond) {
            Ok(Break(code)) => return Ok(Some(code)),
            // The ledger was removed, and the session with it or not.
            Ok(Continue(())) => {}
            Err(Error::LogReplaced) if server.journal.ledger().is_removed()? => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Waits until there is a session. Nothing, when the log is another one by now.
fn wait_for_session<'a>(
    instance: &'a Instance,
    beyond: &mut Beyond,
) -> Result<Option<ControlFlow<u8, Journal<'a>>>, Error> {
    let mut watch = None;
    loop {
        if let Some(code) = asked_to_end() {
            return Ok(Some(Break(code)));
        }
        let limit = beyond.check(instance)?;
        if let Some(ledger) = session::find(instance.directory())?
            && ledger.is_published()
            && ledger.header()?.identity == instance.identity()
            && !ledger.cursors()?.is_ended()
        {
            return Ok(Some(Continue(Journal::of(instance, ledger, false))));
        }
        match instance.checked_log_len() {
            Err(Error::LogReplaced) => return Ok(None),
            checked => checked?,
        };
        match &watch {
            // Look once more: what came before is not told.
            None => watch = Some(Watch::new(instance.log())),
            Some(watch) => watch.wait(limit)?,
        }
    }
}

/// A worker number beyond the N of the load balancer that is running.
struct Beyond {
    worker: WorkerId,
    since: Option<Instant>,
}

impl Beyond {
    /// An error once the worker has not been needed for long enough. Returns when to look again.
    fn check(&mut self, instance: &Instance) -> Result<Duration, Error> {
        let workers = instance.balancer_workers()?;
        let Some(workers) = workers.filter(|n| self.worker.get() > n.get()) else {
            self.since = None;
            return Ok(TICK);
        };
        if self.since.get_or_insert_with(Instant::now).elapsed() >= N_PATIENCE {
            return Err(not_needed(self.worker, workers));
        }
        Ok(N_PATIENCE)
    }
}

fn not_needed(worker: WorkerId, workers: Workers) -> Error {
    Error::NoSuchWorker { worker: worker.get(), workers: workers.get() }
}

/// A queue of this worker's own, which goes with it.
struct OwnQueue(WorkerId, MessageQueue);

impl Drop for OwnQueue {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next life, or at the session's end.
        let _ = session::remove_queue(self.0, self.1);
    }
}

struct Server<'a> {
    journal: Journal<'a>,
    worker: WorkerId,
    executor: &'a mut Executor,
    message: Box<Message>,
    /// Messages executed in this session. The ledger tells the others.
    executed: u64,
    told_no_room: bool,
}

impl<'a> Server<'a> {
    fn new(journal: Journal<'a>, worker: WorkerId, executor: &'a mut Executor) -> Self {
        let executed = journal.ledger().cell(worker).executed();
        let message = Message::boxed();
        Self { journal, worker, executor, message, executed, told_no_room: false }
    }

    /// Lives in a session, until it ends for this worker, or its ledger is removed.
    fn run(&mut self, beyond: &mut Beyond) -> Result<ControlFlow<u8>, Error> {
        loop {
            let instance = self.journal.instance();
            let queue = OwnQueue(self.worker, session::fresh_queue(instance, self.worker)?);
            let ledger = self.journal.ledger();
            ledger.cell(self.worker).set_executed(self.executed);
            ledger.cell(self.worker).set_queue(queue.1.0);
            ledger.doorbell().ring();
            // After the queue was made: who ends the session says so first, and removes the queues then.
            let removed = ledger.is_removed()?;
            let at = ledger.cursors()?;
            if at.is_ended() {
                let workers = at.workers().filter(|n| self.worker.get() > n.get());
                return workers.map_or(Ok(Break(0)), |n| Err(not_needed(self.worker, n)));
            }
            if removed {
                return Ok(Continue(()));
            }
            // Likewise: a load balancer that does not need this worker has removed its queue.
            if beyond.check(instance)? < TICK {
                pause(N_PATIENCE);
            } else if let Break(code) = self.serve(queue.1)? {
                return Ok(Break(code));
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
                    self.journal.ledger().cell(self.worker).set_finished();
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
        let before = self.executed;
        // A frame says no more than was received, or it is forged.
        let workers = ledger.cursors()?.workers();
        let limit = workers.map_or(0, |workers| workers.share(self.worker, ledger.received()));
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
                    if complete && executed.is_ok() && next < limit {
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
            self.executed = next;
            ledger.cell(self.worker).set_executed(next);
            if ledger.cell(self.worker).wants_wake(next) {
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
