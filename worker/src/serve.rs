//! A worker's life: make a queue, take frames from it, execute, count, log.

use std::sync::Once;
use std::thread;
use std::time::Duration;

use common::error::{Error, heed_signals};
use common::fence::message_queue::{Message, MessageQueue};
use common::frame::{FrameReader, KIND_FINISH, KIND_FRAME, STRANGER};
use common::instance::Instance;
use common::journal::{Advance, Journal, Ready};
use common::ledger::Ledger;
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

/// Serves session after session of an instance, until the total of one is logged, or will be by others.
pub(crate) fn serve(
    instance: &Instance,
    worker: WorkerId,
    executor: &mut Executor,
) -> Result<(), Error> {
    loop {
        let journal = wait_for_session(instance, worker)?;
        let executed = journal.ledger().cell(worker).executed();
        let message = Message::boxed();
        let reader = FrameReader::default();
        let told = Once::new();
        let mut server = Server { journal, worker, executor, message, reader, executed, told };
        if server.run()? {
            return Ok(());
        }
    }
}

/// Waits until there is a session; an error, too, when the log is another one by now.
fn wait_for_session(instance: &Instance, worker: WorkerId) -> Result<Journal<'_>, Error> {
    let mut watch = None;
    loop {
        heed_signals()?;
        check_needed(instance, worker)?;
        if let Some(ledger) = find_unfinished(instance)? {
            return Ok(Journal::of(instance, ledger, false));
        }
        instance.checked_log_len()?;
        match &watch {
            // Look once more: what came before is not told.
            None => watch = Some(Watch::new(instance.log())),
            Some(watch) => watch.wait(TICK)?,
        }
    }
}

/// The ledger of the log's session, unless that has ended.
pub(crate) fn find_unfinished(instance: &Instance) -> Result<Option<Ledger>, Error> {
    let Some(ledger) = session::find(instance.directory())? else { return Ok(None) };
    let is_unfinished = ledger.is_published()
        && ledger.identity()? == instance.identity()
        && !ledger.cursors()?.is_ended();
    Ok(is_unfinished.then_some(ledger))
}

/// An error if the load balancer that is running does not need this worker, and has not just been started.
fn check_needed(instance: &Instance, worker: WorkerId) -> Result<(), Error> {
    let check = || check_number(worker, instance.balancer_workers()?);
    check().or_else(|_| {
        pause(N_PATIENCE);
        heed_signals()?;
        check()
    })
}

fn check_number(worker: WorkerId, workers: Option<Workers>) -> Result<(), Error> {
    match workers.filter(|n| worker.get() > n.get()) {
        Some(n) => Err(Error::NoSuchWorker { worker: worker.get(), workers: n.get() }),
        None => Ok(()),
    }
}

/// A queue of this worker's own, which goes with it.
struct OwnQueue(MessageQueue);

impl Drop for OwnQueue {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next life, or at the session's end.
        let _ = self.0.remove();
    }
}

struct Server<'a> {
    journal: Journal<'a>,
    worker: WorkerId,
    executor: &'a mut Executor,
    message: Box<Message>,
    reader: FrameReader,
    /// Messages executed in this session. The ledger tells the others.
    executed: u64,
    /// That there is no room on the disk.
    told: Once,
}

impl Server<'_> {
    /// Lives in a session. Returns true once it has ended for this worker, false once its ledger is removed.
    fn run(&mut self) -> Result<bool, Error> {
        loop {
            let instance = self.journal.instance();
            let queue = OwnQueue(session::fresh_queue(instance, self.worker)?);
            let ledger = self.journal.ledger();
            ledger.cell(self.worker).set_executed(self.executed);
            ledger.cell(self.worker).set_queue(queue.0.0);
            ledger.doorbell().ring();
            // After the queue was made: who ends the session says so first, and removes the queues then.
            let removed = ledger.is_removed()?;
            let at = ledger.cursors()?;
            if at.is_ended() {
                return check_number(self.worker, at.workers()).map(|()| true);
            }
            if removed {
                return Ok(false);
            }
            // Likewise: a load balancer that does not need this worker has removed its queue.
            check_needed(instance, self.worker)?;
            if self.serve(queue.0)? {
                return Ok(true);
            }
        }
    }

    /// Serves a queue. Returns true once the worker has finished, false when the queue is gone or frames are
    /// missing.
    fn serve(&mut self, queue: MessageQueue) -> Result<bool, Error> {
        self.reader = FrameReader::default();
        let mut tries = 0;
        loop {
            heed_signals()?;
            let received = if tries < TRIES {
                queue.try_receive(&mut self.message)
            } else {
                self.log_ready()?;
                queue.receive(&mut self.message)
            };
            tries = if received == Err(Errno::ENOMSG) { tries + 1 } else { 0 };
            match received {
                Ok(len) if self.is_finish(len) => {
                    self.journal.ledger().cell(self.worker).set_finished();
                    self.log_ready()?;
                    self.journal.ledger().doorbell().ring();
                    return Ok(true);
                }
                Ok(len) => {
                    if !self.execute_frame(len, queue)? {
                        return Ok(false);
                    }
                    // All: nothing else is on its way, so there is nothing to wait for.
                    if let Ready::Executed { lines, all } = self.journal.ready()?
                        && (all || lines >= READY_MANY)
                    {
                        self.advance()?;
                    }
                }
                Err(Errno::ENOMSG) => thread::yield_now(),
                Err(Errno::EINTR) => {}
                Err(Errno::EIDRM | Errno::EINVAL) => return Ok(false),
                Err(error) => return Err(session::queue_error(self.worker, "msgrcv")(error)),
            }
        }
    }

    fn is_finish(&self, len: usize) -> bool {
        self.message.kind == KIND_FINISH
            && self.message.bytes[..len] == self.journal.ledger().session().to_le_bytes()
    }

    /// Executes what is new in a frame, and counts it. Returns false if messages before it are
    /// missing: another program took them out of the queue.
    fn execute_frame(&mut self, len: usize, queue: MessageQueue) -> Result<bool, Error> {
        let ledger = self.journal.ledger();
        let cell = ledger.cell(self.worker);
        // A frame says no more than was received, or it is forged.
        let workers = ledger.cursors()?.workers();
        let limit = workers.map_or(0, |workers| workers.share(self.worker, ledger.received()));
        let bytes = &self.message.bytes[..len];
        let before = self.executed;
        let mut next = before;
        let mut complete = true;
        let mut executed = Ok(());
        let read = if self.message.kind == KIND_FRAME {
            self.reader.read(bytes, ledger.session(), |own, text, index| {
                complete &= own <= next || next == limit;
                // Earlier ones are duplicates: sent again after a death.
                if own == next && executed.is_ok() && next < limit {
                    executed = self.executor.execute(text, index);
                    next += 1;
                }
            })
        } else {
            Err(STRANGER)
        };
        executed?;
        self.executor.flush()?;
        if let Err(error) = read {
            common::tell!(
                "worker {}: ignored a message of {len} bytes in its queue (id {}): {error}",
                self.worker,
                queue.0
            );
            // Nothing of it counts.
            (next, complete) = (before, true);
        }
        self.executed = next;
        cell.set_executed(next);
        // Nothing new, as a piece of a text: the balancer may wait for its room, and cannot see it otherwise.
        if next == before || cell.wants_wake(next) {
            ledger.doorbell().ring();
        }
        Ok(complete)
    }

    /// Before sleeping: writes all lines that are ready. If somebody else holds the lock, he looks
    /// again after letting it go; but a foreign program does not, so the balancer is told.
    fn log_ready(&mut self) -> Result<(), Error> {
        // The balancer is at it, or asleep: it may be this worker's line that others waited for.
        let is_balancers = matches!(self.journal.ready()?, Ready::Received | Ready::Pending);
        let mut advanced = if is_balancers { Advance::Busy } else { Advance::Wrote };
        while advanced == Advance::Wrote {
            advanced = self.advance()?;
        }
        if advanced == Advance::Busy {
            self.journal.ledger().doorbell().ring();
        }
        Ok(())
    }

    /// One transaction. A full disk is reported once; the balancer tries again and again.
    fn advance(&mut self) -> Result<Advance, Error> {
        match self.journal.advance() {
            Err(error) if error.is_no_room() => {
                self.told.call_once(|| common::tell!("worker {}: {error}", self.worker));
                Ok(Advance::Busy)
            }
            advanced => advanced,
        }
    }
}
