//! The one way into `sistem.log`: submissions are accepted, and lines that are ready are written, each
//! as a [transaction](crate::ledger) under the log's lock.
//!
//! Nobody waits for a turn to write one line. A worker counts what it has executed, and the worker or
//! balancer that gets the lock writes every line that is ready, of all workers (flat combining). So that
//! no ready line is left behind, it looks again after unlocking, and a worker that found the lock taken
//! rings for the balancer, which tries again until it gets it.

use std::ops::Range;
use std::thread;
use std::time::Instant;

use crate::cursors::{Closing, Cursors};
use crate::error::Error;
use crate::instance::Instance;
use crate::ledger::Ledger;
use crate::lock::{self, LEAVE_LOCK, LogLock, Wait};
use crate::record::Record;
use crate::render::Renderer;
use crate::rotation::{WorkerId, Workers};
use crate::session;
use crate::submission::Submission;
use crate::transaction::Transaction;

/// What [`Journal::ready`] found: the next line's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// No line is ready.
    Nothing,
    /// `Received` lines.
    Received,
    /// `Executed` lines of one submission.
    Executed {
        /// So many.
        lines: u64,
        /// Every message that was accepted is executed: nothing else is on its way.
        all: bool,
    },
    /// The totals.
    Totals,
    /// A transaction that is being written, or whose writer died.
    Pending,
}

/// What [`Journal::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// No line was ready.
    Nothing,
    /// Lines were written; more may be ready.
    Wrote,
    /// Lines are ready, but another process holds the lock.
    Busy,
}

/// What [`Journal::accept`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// So many of the submissions, from the first on, are accepted: logged, and not to be lost. 0:
    /// the ring is full.
    Accepted(usize),
    /// The session is ending: wait for the next one.
    Closing,
}

/// A directory's session: the way into its log.
#[derive(Debug)]
pub struct Journal<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) ledger: Ledger,
    pub(crate) renderer: Renderer,
    pub(crate) durable: bool,
    /// What is being accepted: kept for its room only.
    pub(crate) record: Record,
    /// See [`Journal::accepted`].
    pub(crate) accepted: Range<u64>,
}

/// What there was of a session when a process came.
#[derive(Debug)]
pub enum Opened<S> {
    /// None.
    Nothing,
    /// An ended one: its objects, which a killed process left, are removed now; or of its last line only half
    /// stood in a log that may only grow, and the other half does now.
    Remains,
    /// An unfinished one; `true`: its ledger was gone, it was read back from the log.
    Session(S, bool),
}

impl<'a> Journal<'a> {
    /// Attaches the directory's unfinished session, if there is one, and finishes what the dead left pending.
    /// If `durable`, every transaction is on the disk (`fdatasync(2)`) before it counts as done.
    pub fn open(instance: &'a Instance, durable: bool) -> Result<Opened<Box<Self>>, Error> {
        let lock = lock_session(instance, durable)?;
        let (ledger, rebuilt) = match session::attach(instance, durable)? {
            Opened::Nothing => return Ok(Opened::Nothing),
            Opened::Remains => return Ok(Opened::Remains),
            Opened::Session(ledger, rebuilt) => (ledger, rebuilt),
        };
        let mut journal = Self::of(instance, ledger, durable);
        // Under the same lock: let go in between, the session may be ended and removed by others.
        drop(Transaction::begin(lock, &mut journal)?);
        Ok(Opened::Session(Box::new(journal), rebuilt))
    }

    /// Attaches the session of which this is the ledger, as [`session::find`] gave it. Takes no lock.
    #[must_use]
    pub fn of(instance: &'a Instance, ledger: Ledger, durable: bool) -> Self {
        Self {
            instance,
            ledger,
            renderer: Renderer::default(),
            durable,
            record: Record::default(),
            accepted: 0..0,
        }
    }

    /// Submits to the directory's session, which begins with this if there is none.
    pub fn submit(
        instance: &'a Instance,
        submissions: &[Submission<&str>],
        durable: bool,
    ) -> Result<(Self, Accept), Error> {
        let lock = lock_session(instance, durable)?;
        let ledger = match session::attach(instance, durable)? {
            Opened::Session(ledger, _) => ledger,
            Opened::Nothing | Opened::Remains => session::create(instance)?,
        };
        let mut journal = Self::of(instance, ledger, durable);
        let accepted = Transaction::begin(lock, &mut journal)
            .and_then(|mut transaction| transaction.accept(submissions));
        journal.ledger.doorbell().ring();
        Ok((journal, accepted?))
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &'a Instance {
        self.instance
    }

    /// Who holds the log's lock, in words.
    #[must_use]
    pub fn lock_holder(&self) -> String {
        lock::holder(self.instance.log())
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The state as of the newest finished transaction.
    pub fn cursors(&self) -> Result<Cursors, Error> {
        self.ledger.cursors()
    }

    /// Waits for the log's lock.
    fn lock(&mut self) -> Result<Transaction<'_, 'a>, Error> {
        let lock = LogLock::wait(self.instance.log(), &Wait::Asking(&self.ledger))?;
        Transaction::begin(lock, self)
    }

    /// Takes the log's lock if it is free.
    pub(crate) fn try_lock(&mut self) -> Result<Option<Transaction<'_, 'a>>, Error> {
        let Some(lock) = LogLock::try_take(self.instance.log())? else { return Ok(None) };
        Transaction::begin(lock, self).map(Some)
    }

    /// Looks whether header, log and the submission whose lines come next are still the session's, also when
    /// there is nothing to write. A log that is longer may just be written to; if nobody does, it is judged
    /// under the lock.
    pub fn check(&mut self) -> Result<(), Error> {
        self.ledger.identity()?;
        let at = self.cursors()?;
        self.renderer.forget();
        if !at.all_logged() {
            self.count_at(&at)?;
        }
        let len = match self.instance.checked_log_len() {
            // Whoever came when all was over was quicker, and has renamed it.
            Err(Error::LogReplaced) if at.rotates() && self.ledger.is_removed()? => {
                return Err(Error::SessionEnded);
            }
            checked => checked?,
        };
        // Or a client died before it wrote.
        if len != self.cursors()?.log_len || self.ledger.is_pending() {
            drop(self.try_lock()?);
        }
        Ok(())
    }

    /// Makes something that the session's end removes: as long as this has the log's lock, it does not end. Nothing if it
    /// has.
    pub fn unless_removed<T>(
        &self,
        make: impl FnOnce(&Instance) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let _lock = LogLock::wait(self.instance.log(), &Wait::Asking(&self.ledger))?;
        if self.ledger.is_removed()? { Ok(None) } else { make(self.instance).map(Some) }
    }

    /// Accepts submissions: their lines are logged, the balancer's doorbell rung, and the next client's turn has come.
    pub fn accept(&mut self, submissions: &[Submission<&str>]) -> Result<Accept, Error> {
        let lock = LogLock::wait(self.instance.log(), &Wait::InTurn(&self.ledger))?;
        let accepted = Transaction::begin(lock, self)?.accept(submissions)?;
        // Who was not accepted has nothing to pass on: several would wake each other again and again.
        if matches!(accepted, Accept::Accepted(1..)) {
            self.ledger.doorbell().ring();
            self.pass_on();
        }
        Ok(accepted)
    }

    /// After a client's submissions were accepted: the next one's turn, if there is room.
    pub(crate) fn pass_on(&self) {
        if self.cursors().is_ok_and(|at| at.has_room()) {
            self.ledger.space().ring_for_one();
        }
    }

    /// Whether it is worth a try: there is room, as far as is seen without the lock, or another answer than that there is
    /// none.
    pub fn may_accept(&self) -> Result<bool, Error> {
        self.cursors().map(|at| at.has_room() || at.is_closing())
    }

    /// The numbers, in the session, of the messages that were accepted last.
    #[must_use]
    pub fn accepted(&self) -> Range<u64> {
        self.accepted.clone()
    }

    /// Which lines are ready to be written. Without the lock, so the answer may be old; but what was
    /// ready before the last holder of the lock let it go is never overlooked.
    pub fn ready(&mut self) -> Result<Ready, Error> {
        self.ready_at(&self.cursors()?)
    }

    fn ready_at(&mut self, at: &Cursors) -> Result<Ready, Error> {
        if at.all_logged() {
            return Ok(if self.ledger.are_totals_ready(at) {
                Ready::Totals
            } else if self.ledger.is_pending() {
                // A dead client's, for example: its submission is accepted.
                Ready::Pending
            } else {
                Ready::Nothing
            });
        }
        // Whoever writes the lines checks the submission; but it is checked before it is a reason to wait.
        match self.ready_of(at, self.ledger.peek_count(at.head, at.index)) {
            // Pending if others have written on.
            Ready::Nothing => {
                Ok(self.count_at(at)?.map_or(Ready::Pending, |count| self.ready_of(at, count)))
            }
            ready => Ok(ready),
        }
    }

    fn ready_of(&self, at: &Cursors, count: u64) -> Ready {
        let its = |of: u64| of.saturating_sub(at.base).min(count);
        if at.line < count {
            let ready = its(self.ledger.received()) > at.line;
            return if ready { Ready::Received } else { Ready::Nothing };
        }
        let executed = at.workers().map_or(0, |workers| self.ledger.executed_frontier(workers));
        match (count + its(executed)).saturating_sub(at.line) {
            0 => Ready::Nothing,
            lines => Ready::Executed { lines, all: executed == at.messages },
        }
    }

    /// Messages that are accepted, and not logged to their last line.
    pub fn messages_left(&mut self) -> Result<u64, Error> {
        let at = self.cursors()?;
        // Its `Received` lines come first.
        let received = if at.all_logged() { None } else { self.count_at(&at)? };
        let executed = at.line.saturating_sub(received.unwrap_or(at.line));
        Ok((at.messages - at.base).saturating_sub(executed))
    }

    /// The count of the submission whose lines come next. Nothing if that is not where it was any more.
    fn count_at(&mut self, at: &Cursors) -> Result<Option<u64>, Error> {
        match self.renderer.count(&self.ledger, at) {
            Ok(count) => Ok(Some(count)),
            Err(_) if self.cursors()?.head != at.head => Ok(None), // it was overwritten meanwhile
            Err(error) => Err(error),
        }
    }

    /// Writes one transaction of lines that are ready, if the lock is free. Nothing, too, if others have
    /// written the last line meanwhile and removed the session.
    pub fn advance(&mut self) -> Result<Advance, Error> {
        // Read before the lock is taken: what is redone under it counts as written.
        let before = self.cursors()?;
        if self.ready_at(&before)? == Ready::Nothing {
            return Ok(Advance::Nothing);
        }
        let Some(locked) = unless_ended(self.try_lock())? else { return Ok(Advance::Nothing) };
        let Some(mut transaction) = locked else { return Ok(Advance::Busy) };
        let had_much_room = transaction.at.has_much_room();
        // Then more may be forwarded.
        let wrote_received = transaction.append_ready()?;
        let after = transaction.at;
        drop(transaction);
        self.leave_lock();
        let is_submission_logged = after.base != before.base;
        if is_submission_logged {
            self.ledger.logged().ring();
            // Told of every bit of it, clients and loggers would wait for each other in turns.
            if !had_much_room && after.has_much_room() || after.all_logged() {
                self.ledger.space().ring_for_one();
            }
        }
        let is_watched_for = is_submission_logged && after.all_logged() && self.ledger.is_watched();
        if wrote_received || is_watched_for || after.totals != before.totals {
            self.ledger.doorbell().ring();
        }
        // Nothing although lines looked ready: another holder was quicker.
        Ok(if after == before { Advance::Nothing } else { Advance::Wrote })
    }

    /// Lets a client have the lock that has asked for it. A dead one costs one moment, no more.
    fn leave_lock(&self) {
        if !self.ledger.is_lock_wanted() {
            return;
        }
        let start = Instant::now();
        while self.ledger.is_lock_wanted() && start.elapsed() < LEAVE_LOCK {
            thread::yield_now();
        }
        self.ledger.stop_asking();
    }

    /// Records that N workers share the session; refused when it began with another N.
    pub fn set_workers(&mut self, workers: Workers) -> Result<(), Error> {
        let (asked, mut transaction) = (u64::from(workers.get()), self.lock()?);
        let (at, ledger) = (transaction.at, &transaction.journal.ledger);
        if at.workers == asked {
            return Ok(());
        }
        // Before the first message was taken, nothing depends on N.
        let nothing_logged = (at.base, at.line) == (0, 0);
        let free = at.workers == 0 || nothing_logged && ledger.received() == 0;
        // A rebuilt ledger knows workers that must be among the N, but perhaps not N.
        let has_executed = |&worker: &WorkerId| ledger.cell(worker).executed() > 0;
        let known = WorkerId::all().rev().find(has_executed).map_or(0, WorkerId::get);
        // Totals of a session that is not finished are not those of all its workers.
        if free && known <= workers.get() && at.totals < asked {
            return transaction.put(Cursors { workers: asked, ..at });
        }
        let session = match at.workers {
            // Rebuilt from the log, N may not be known, but who has executed something is.
            0 => known.max(at.totals as u32 + 1),
            workers => workers as u32,
        };
        Err(Error::OtherWorkers { session, asked: workers.get() })
    }

    /// Closes the session if `no_more` says so, under the lock: from then on submissions go to the
    /// next session. Returns false if another process holds the lock; true also when others have ended
    /// and removed the session.
    pub fn try_close(
        &mut self,
        then: Closing,
        no_more: impl FnOnce(&Instance, &Cursors) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let Some(locked) = unless_ended(self.try_lock())? else { return Ok(true) };
        let Some(mut transaction) = locked else { return Ok(false) };
        if !transaction.at.is_closing() && no_more(transaction.journal.instance, &transaction.at)? {
            transaction.put(Cursors { closing: then as u64, ..transaction.at })?;
        }
        Ok(true)
    }

    /// Puts the whole log on the disk, also what processes wrote that are not durable.
    pub fn sync_if_durable(&self) -> Result<(), Error> {
        if self.durable { self.instance.log().sync_data().map_err(Error::Log) } else { Ok(()) }
    }

    /// Removes the session's IPC objects, after the totals; renames the log, if that is to be, or returns why it cannot.
    pub fn remove_objects(&mut self) -> Result<Option<Error>, Error> {
        match unless_ended(self.lock())? {
            Some(locked) if locked.at.is_ended() => {
                let Journal { instance, ledger, durable, .. } = &*locked.journal;
                Ok(session::end(instance, ledger, *durable)?.and_then(Result::err))
            }
            _ => Ok(None), // or whoever came when all was over was quicker
        }
    }
}

/// Nothing where the session has ended, and others have removed it.
fn unless_ended<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Err(Error::SessionEnded) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Waits for the log's lock, to look for a session.
pub(crate) fn lock_session(instance: &Instance, durable: bool) -> Result<LogLock<'_>, Error> {
    if durable {
        // The log's name must survive a power loss, too.
        instance.directory().sync()?;
    }
    LogLock::wait(instance.log(), &Wait::Unasked)
}
