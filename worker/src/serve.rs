//! A worker executes, counts in its cell, and goes on; what comes twice it recognises by its own numbers. A life of it
//! begins with a queue that it makes, and ends with its total, or with that queue.

use std::thread;
use std::time::Duration;

use common::error::{Error, exit, heed_signals};
use common::fence::message_queue::{Message, MessageQueue};
use common::grammar::rotation::{WorkerId, Workers};
use common::instance::Instance;
use common::instance::objects;
use common::instance::waiting::Watch;
use common::ledger::Ledger;
use common::log::journal::Journal;
use common::program::advice;
use common::program::pause::pause;
use common::queue;
use common::queue::frame::FrameReader;
use common::queue::message::ToWorker;
use nix::errno::Errno;

use work::{Executor, Progress};

use crate::Task;
use crate::progress::Own;

/// How often a worker without a session looks for one, even where nothing seems to happen.
const TICK: Duration = Duration::from_secs(1);
/// How long a balancer that has just been started may take to say its own N.
const N_PATIENCE: Duration = Duration::from_millis(200);
/// Tries with a yield before a worker sleeps in its queue: a wake-up costs the balancer more.
const TRIES: u32 = 3;

/// Serves session after session of an instance, until the total of one is logged, or will be by others.
pub(crate) fn serve(
    instance: &Instance,
    worker: WorkerId,
    task: &Task,
    reported: &mut bool,
) -> Result<(), Error> {
    let mut executor = Executor::new(task.echo, &task.work)?;
    work::end_kept(instance, worker)?;
    let served = serve_sessions(instance, worker, &mut executor, task, reported);
    // What is kept ends with this worker, whatever it ends with.
    executor.finish().and(served)
}

fn serve_sessions<'a>(
    instance: &'a Instance,
    worker: WorkerId,
    executor: &mut Executor<'a>,
    task: &Task,
    reported: &mut bool,
) -> Result<(), Error> {
    loop {
        let journal = wait_for_session(instance, worker, reported)?;
        if !*reported && instance.balancer_workers()?.is_none() {
            *reported = true;
            tell_waiting(worker, None);
        }
        let mut progress = Own::new(journal, worker, task.durable);
        if progress.is_next_dead()? {
            progress.count(progress.executed() + 1);
        }
        let (message, reader) = (Message::boxed(), FrameReader::default());
        let by_hand = task.by_hand;
        let mut server = Server { progress, executor, message, reader, by_hand };
        match server.run() {
            // It was set aside while a COMMAND ran.
            Ok(false) | Err(Error::SessionEnded) => {}
            ended => return ended.map(drop),
        }
    }
}

/// Waits until there is a session; an error, too, when the log is another one by now.
fn wait_for_session<'a>(
    instance: &'a Instance,
    worker: WorkerId,
    reported: &mut bool,
) -> Result<Journal<'a>, Error> {
    let mut watch = None;
    loop {
        heed_signals()?;
        check_needed(instance, worker)?;
        if let Some(ledger) = find_unfinished(instance)? {
            return Ok(Journal::of(instance, ledger, false));
        }
        instance.checked_log_len()?;
        match &watch {
            // Look once more: what came before is not seen.
            None => watch = Some(Watch::new(instance.log())),
            Some(_) if !std::mem::replace(reported, true) => {
                tell_waiting(worker, instance.balancer_workers()?);
            }
            Some(watch) => watch.wait(TICK)?,
        }
    }
}

/// Says what a worker that was started by hand waits for.
fn tell_waiting(worker: WorkerId, balancer: Option<Workers>) {
    let (what, command) = if balancer.is_some() {
        ("a submission", advice::command("client", "'TEXT;COUNT'"))
    } else {
        ("a load balancer", advice::command("loadbalancer", "--no-spawn N"))
    };
    common::note!("worker {worker}: waiting for {what}: `{command}`");
}

/// The ledger of the log's session, unless that has ended.
pub(crate) fn find_unfinished(instance: &Instance) -> Result<Option<Ledger>, Error> {
    let Some(ledger) = objects::find_ledger(instance.directory())? else { return Ok(None) };
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
    let Some(n) = workers.filter(|n| worker.get() > n.get()) else { return Ok(()) };
    let what = format!("worker {worker} is not needed: this session is shared by workers 1 to {n}");
    Err(Error::Own { what, code: exit::USAGE })
}

/// A queue of this worker's own, which goes with it.
struct OwnQueue(MessageQueue);

impl Drop for OwnQueue {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next life, or at the session's end.
        let _ = self.0.remove();
    }
}

struct Server<'a, 'e> {
    progress: Own<'a>,
    executor: &'e mut Executor<'a>,
    message: Box<Message>,
    reader: FrameReader,
    by_hand: bool,
}

impl Server<'_, '_> {
    /// Lives in a session. Returns true once it has ended for this worker, and false if another one follows: its ledger
    /// is removed, or the log is renamed after it.
    fn run(&mut self) -> Result<bool, Error> {
        loop {
            let (instance, worker) = (self.progress.instance(), self.progress.worker());
            let ledger = self.progress.ledger();
            let make = |instance: &_| queue::fresh(instance, ledger, worker).map(OwnQueue);
            let queue = self.progress.journal.unless_removed(self.by_hand, make)?;
            let ledger = self.progress.ledger();
            let at = ledger.cursors()?;
            if at.is_ended() {
                return check_number(worker, at.workers()).map(|()| !at.rotates());
            }
            let Some(queue) = queue else { return Ok(false) };
            ledger.cell(worker).set_executed(self.progress.executed());
            ledger.cell(worker).set_queue(queue.0.0);
            ledger.doorbell().ring();
            // After the queue was made: a load balancer that does not need this worker has removed its queue.
            check_needed(instance, worker)?;
            if self.serve(queue.0)? {
                return Ok(!self.progress.ledger().cursors()?.rotates() || self.wait_for_end()?);
            }
        }
    }

    /// Waits for the end of a session that is followed by another one, in another log. Returns false.
    fn wait_for_end(&self) -> Result<bool, Error> {
        let ledger = self.progress.ledger();
        loop {
            heed_signals()?;
            let seen = ledger.logged().look();
            if ledger.is_removed()? || ledger.cursors()?.is_ended() {
                return Ok(false);
            }
            ledger.logged().sleep(seen, TICK).map_err(Error::system("futex"))?;
        }
    }

    /// Serves a queue. Returns true once the worker has finished, false when the queue is gone or frames are
    /// missing.
    fn serve(&mut self, queue: MessageQueue) -> Result<bool, Error> {
        self.reader = FrameReader::default();
        let mark = queue::mark(self.progress.instance());
        let mut tries = 0;
        loop {
            heed_signals()?;
            let received = if tries < TRIES {
                queue.try_receive(&mut self.message, mark)
            } else {
                self.progress.log_ready()?;
                queue.receive(&mut self.message, mark)
            };
            tries = if received == Err(Errno::ENOMSG) { tries + 1 } else { 0 };
            match received {
                Ok(len) => match ToWorker::of(&self.message, len, self.progress.session()) {
                    Ok(ToWorker::TotalIsDue) => {
                        let ledger = self.progress.ledger();
                        ledger.cell(self.progress.worker()).set_done();
                        self.progress.log_ready()?;
                        self.progress.ledger().doorbell().ring();
                        return Ok(true);
                    }
                    Ok(ToWorker::Frame) => {
                        if !self.execute_frame(len, queue)? {
                            return Ok(false);
                        }
                        self.progress.log_if_many()?;
                    }
                    Err(why) => self.ignore(len, queue, why),
                },
                Err(Errno::ENOMSG) => thread::yield_now(),
                Err(Errno::EINTR) => {}
                Err(Errno::EIDRM | Errno::EINVAL) => return Ok(false),
                Err(error) => {
                    return Err(queue::error(self.progress.worker(), "msgrcv")(error));
                }
            }
        }
    }

    fn ignore(&self, len: usize, queue: MessageQueue, why: &str) {
        common::tell!(
            "worker {}: ignored a message of {len} bytes in its queue (id {}): {why}",
            self.progress.worker(),
            queue.0
        );
    }

    /// Executes what is new in a frame, and counts it. Returns false if messages before it are
    /// missing: another program took them out of the queue.
    fn execute_frame(&mut self, len: usize, queue: MessageQueue) -> Result<bool, Error> {
        let (ledger, worker) = (self.progress.ledger(), self.progress.worker());
        // A frame says no more than was received, or it is forged.
        let workers = ledger.cursors()?.workers();
        let limit = workers.map_or(0, |workers| workers.share(worker, ledger.received()));
        let bytes = &self.message.bytes[..len];
        let before = self.progress.executed();
        let mut next = before;
        let mut complete = true;
        let mut taken = Ok(true);
        let mut read = self.reader.read(bytes, ledger.session(), |own, text, index| {
            complete &= own <= next || next == limit;
            // Earlier ones are duplicates: sent again after a death.
            if own == next && next < limit && matches!(taken, Ok(true)) {
                taken = self.executor.take(own, text, index);
                next += 1;
            }
        });
        if !taken? {
            read = Err("a text in it breaks the rules for input");
        }
        if let Err(error) = read {
            self.ignore(len, queue, error);
            // Nothing of it counts.
            self.executor.forget()?;
            self.progress.count(before);
            return Ok(true);
        }
        self.executor.execute(&mut self.progress, next)?;
        Ok(complete)
    }
}
