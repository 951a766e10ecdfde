//! A worker as a process: the stream is read by one thread, COMMAND is run by the main one, and what is executed is said
//! to the stream beside both.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use common::dead::Letter;
use common::error::{Error, exit, heed_signals};
use common::grammar::rotation::{WorkerId, Workers};
use common::instance::Instance;
use common::instance::role::Role;
use nix::sys::signal::SigSet;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use work::hand::Hand;
use work::{Executor, Progress};

use crate::args;
use crate::entry::SessionNumber;
use crate::hold::{self, Report, Take, Taken, ToKeep};
use crate::in_hand::InHandFile;
use crate::name;
use crate::nats::Nats;
use crate::runtime;
use crate::shares::{Given, Share, Shares};

/// The longest sleep: within it a signal, and that the number is taken, is noticed.
const TICK: Duration = Duration::from_millis(100);
/// Shares that are read before they are executed.
const AHEAD: usize = 4096;
/// Messages that are handed to COMMAND at once: with --lines so many may be on their way.
const AT_ONCE: u64 = 4096;
/// How long the last word may take: without it the number is free after 15 s, or by `cluster release`.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What the executing thread shares with the one that holds the number.
struct Own<'a> {
    instance: &'a Instance,
    worker: WorkerId,
    handle: Handle,
    in_hand: InHandFile,
    generation: u64,
    /// The generation before, if this directory's worker had it.
    before: Cell<Option<u64>>,
    session: Cell<Option<(SessionNumber, Workers)>>,
    report: watch::Sender<Report>,
    letters: mpsc::Sender<ToKeep>,
    /// Somebody else has the number, or it cannot be held.
    lost: Arc<OnceLock<Taken>>,
}

pub(crate) fn run(args: &args::Worker) -> Result<u8, Error> {
    let instance = Instance::open(&args.dir)?;
    let worker = args.number;
    instance.hold(Role::Worker(worker))?;
    let runtime = runtime::begin()?;
    let handle = runtime.handle().clone();
    let nats = runtime.block_on(args.connection.open(heed_signals))?;
    let name = name::of(&instance)?;
    let how = if args.take_over { Take::Silent } else { Take::Free };
    let mut shares = Shares::new(nats.clone(), worker, heed_signals);
    let held = match runtime.block_on(shares.take(&name, how))? {
        Ok(held) => held,
        Err(taken) => return Err(refused(worker, &taken, args)),
    };
    common::note!("worker {worker}: ready, as {name}");
    let generation = held.generation;
    let before = Cell::new(held.follows_itself.then_some(generation - 1));
    let (report, reports) = watch::channel(Report::default());
    let (letters, to_keep) = mpsc::channel(1);
    let lost = Arc::new(OnceLock::new());
    let holding = {
        let lost = lost.clone();
        handle.spawn(async move {
            let held = hold::hold(&nats, held, reports, to_keep, || Ok(())).await;
            // However it ends: from here on nothing counts.
            let taken = held.as_ref().ok().and_then(|held| held.as_ref().err());
            let _ = lost.set(taken.cloned().unwrap_or(Taken(None)));
            held
        })
    };
    let (give, given) = sync_channel(AHEAD);
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = {
        let (handle, is_over) = (handle.clone(), is_over.clone());
        thread::spawn(move || read(&handle, shares, &give, &is_over))
    };
    let mut executor = Executor::new(args.echo, &args.work)?;
    work::end_kept(&instance, worker)?;
    let in_hand = InHandFile::open(&instance, worker)?;
    let session = Cell::new(None);
    let mut own = Own {
        instance: &instance,
        worker,
        handle,
        in_hand,
        generation,
        before,
        session,
        report,
        letters,
        lost,
    };
    let is_plain = !args.work.is_any() && !args.echo;
    let executed = execute(&given, &mut executor, &mut own, is_plain);
    let finished = executor.finish();
    let is_lost = own.lost.get().is_some();
    drop((own, given));
    is_over.store(true, Relaxed);
    // Nobody reports any more: the number is given back.
    let back = runtime.block_on(async { timeout(LAST_WORD, holding).await });
    if back.is_err() && !is_lost {
        common::tell!(
            "worker {worker}: its number could not be given back: the servers do not answer (`cluster release {worker}` \
             once they do)"
        );
    }
    let read = reading.join().unwrap_or_else(|_| {
        let why = "the thread that reads the stream has panicked".to_owned();
        Err(Error::Worker { worker: worker.get(), why })
    });
    drop(runtime);
    finished.and(executed).and(read).map(|()| 0)
}

fn refused(worker: WorkerId, taken: &Taken, args: &args::Worker) -> Error {
    let what = match &taken.0 {
        Some(who) => format!(
            "worker {worker} is held by {who}: end it there; if that host is gone, `cluster release --instance {} \
             {worker}`, or start this with --take-over",
            args.connection.instance
        ),
        None => format!("worker {worker} was taken by somebody else at the same time: start again"),
    };
    Error::Own { what, code: exit::TROUBLE }
}

/// Reads what is to be executed, and a little ahead.
fn read(
    handle: &Handle,
    mut shares: Shares<Nats>,
    give: &SyncSender<Given>,
    is_over: &AtomicBool,
) -> Result<(), Error> {
    // The main thread is to be interrupted by signals, not this one.
    SigSet::all().thread_block().map_err(Error::system("sigprocmask"))?;
    let mut was_nothing = false;
    while !is_over.load(Relaxed) {
        let given = handle.block_on(shares.next())?;
        let workers = shares.state().session.workers;
        if let Some(n) = workers.filter(|n| shares.worker().get() > n.get()) {
            let what = format!(
                "worker {} is not needed: this session is shared by workers 1 to {n}",
                shares.worker()
            );
            return Err(Error::Own { what, code: exit::USAGE });
        }
        // That there is nothing matters only after there was something.
        let is_nothing = given == Given::Nothing;
        if (!is_nothing || !was_nothing) && give.send(given).is_err() {
            break; // the worker ends
        }
        was_nothing = is_nothing;
    }
    Ok(())
}

/// What is handed to COMMAND next.
struct Supply<'r> {
    given: &'r Receiver<Given>,
    /// Of a share that was begun.
    rest: Option<Share>,
    next: Option<Given>,
}

impl Supply<'_> {
    /// Hands over messages that follow each other, up to [`AT_ONCE`]. Returns how many this worker has executed after
    /// them; none if there are none now.
    fn hand_over(&mut self, executor: &mut Executor<'_>) -> Result<Option<u64>, Error> {
        let (mut left, mut all) = (AT_ONCE, None);
        if self.next.is_some() {
            return Ok(None); // it comes first
        }
        while left > 0 {
            if self.rest.is_none() {
                match self.given.try_recv() {
                    Ok(Given::Share(share)) => self.rest = Some(share),
                    Ok(other) => {
                        self.next = Some(other);
                        break;
                    }
                    Err(_) => break,
                }
            }
            let Some(share) = &mut self.rest else { break };
            let count = share.count.min(left);
            for _ in 0..count {
                // It was judged when it was read from the stream.
                executor.take(share.own, share.text.as_bytes(), share.index)?;
                share.own += 1;
                share.index += share.workers.get();
            }
            share.count -= count;
            left -= count;
            all = Some(share.own);
            self.rest.take_if(|share| share.count == 0);
        }
        Ok(all)
    }

    fn next(&mut self) -> Result<Given, RecvTimeoutError> {
        self.next.take().map_or_else(|| self.given.recv_timeout(TICK), Ok)
    }
}

fn execute<'a>(
    given: &Receiver<Given>,
    executor: &mut Executor<'a>,
    own: &mut Own<'a>,
    is_plain: bool,
) -> Result<(), Error> {
    let mut supply = Supply { given, rest: None, next: None };
    loop {
        own.look()?;
        match supply.next() {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()), // the reader says why
            Ok(Given::Nothing) => own.report.send_modify(|report| report.is_busy = false),
            Ok(Given::SessionEnded) => own.session.set(None),
            Ok(Given::Executed(session, workers, executed)) => {
                own.begin(session, workers, executed)?;
            }
            Ok(Given::Share(share)) if is_plain => own.count(share.own + share.count),
            Ok(Given::Share(mut share)) => {
                // An earlier life here has executed these, and could not say so any more.
                let over = own.report.borrow().executed.saturating_sub(share.own).min(share.count);
                share.own += over;
                share.index += over as u32 * share.workers.get(); // within its submission
                share.count -= over;
                if share.count == 0 {
                    continue;
                }
                own.report.send_modify(|report| report.is_busy = true);
                supply.rest = Some(share);
                while let Some(all) = supply.hand_over(executor)? {
                    executor.execute(own, all)?;
                    own.look()?;
                }
            }
        }
    }
}

impl Own<'_> {
    /// A session begins for this worker, or it goes on in one.
    fn begin(&self, session: SessionNumber, workers: Workers, executed: u64) -> Result<(), Error> {
        self.session.set(Some((session, workers)));
        let reached = self.before.take().map(|before| self.in_hand.reached(session, before));
        let executed = executed.max(reached.transpose()?.flatten().unwrap_or_default());
        // The life before may have died in an attempt.
        if let Some(mut hand) = self.in_hand.left(session, executed)? {
            hand.inherit();
            self.in_hand.set(session, self.generation, executed, &hand)?;
        }
        self.report.send_replace(Report { session: Some(session), executed, is_busy: false });
        Ok(())
    }

    fn in_session(&self) -> Result<(SessionNumber, Workers), Error> {
        self.session.get().ok_or(Error::SessionEnded)
    }
}

impl<'a> Progress<'a> for Own<'a> {
    fn instance(&self) -> &'a Instance {
        self.instance
    }

    fn worker(&self) -> WorkerId {
        self.worker
    }

    fn session(&self) -> u64 {
        self.session.get().map_or(0, |(session, _)| session.0)
    }

    fn workers(&self) -> Result<Workers, Error> {
        self.in_session().map(|(_, workers)| workers)
    }

    fn look(&self) -> Result<(), Error> {
        heed_signals()?;
        let Some(taken) = self.lost.get() else { return Ok(()) };
        let by = taken.0.as_ref().map_or_else(
            || "its number was given back by somebody else".to_owned(),
            |who| format!("its number was taken over by {who}"),
        );
        let what = format!(
            "worker {}: {by}: what it had in hand is not counted, and COMMAND is ended",
            self.worker
        );
        Err(Error::Own { what, code: exit::TROUBLE })
    }

    fn take_up(&self, own: u64) -> Result<(Hand, bool), Error> {
        let (session, _) = self.in_session()?;
        let left = self.in_hand.left(session, own)?;
        let was_left = left.is_some();
        Ok((left.unwrap_or_default(), was_left))
    }

    fn set_in_hand(&self, own: u64, hand: &Hand) -> Result<(), Error> {
        let (session, _) = self.in_session()?;
        self.in_hand.set(session, self.generation, own, hand)
    }

    fn count(&mut self, executed: u64) {
        self.report.send_modify(|report| report.executed = executed);
    }

    fn log_if_many(&mut self) -> Result<(), Error> {
        Ok(()) // it is said beside this thread
    }

    fn log_ready(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn keep_letter(&self, letter: &Letter) -> Result<(), Error> {
        let (session, _) = self.in_session()?;
        let (kept, mut is_kept) = oneshot::channel();
        let mut to_keep = Some(ToKeep { session, letter: letter.clone(), kept });
        let mut is_gone = false;
        loop {
            self.look()?;
            if is_gone {
                thread::sleep(TICK); // whoever holds the number has ended; why is seen by the next look
                continue;
            }
            if let Some(it) = to_keep.take() {
                to_keep = self.letters.try_send(it).err().map(TrySendError::into_inner);
            }
            match self.handle.block_on(async { timeout(TICK, &mut is_kept).await }) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => is_gone = true,
                Err(_) => {}
            }
        }
    }
}
