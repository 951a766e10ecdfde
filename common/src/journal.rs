//! The one way into `sistem.log`: submissions are accepted, and lines that are ready are written, each
//! as a [transaction](crate::ledger) under the log's lock.
//!
//! Nobody waits for a turn to write one line. A worker counts what it has executed, and the worker or
//! balancer that gets the lock writes every line that is ready, of all workers (flat combining). So that
//! no ready line is left behind, it looks again after unlocking, and a worker that found the lock taken
//! rings for the balancer, which tries again until it gets it.

use crate::cursors::Cursors;
use crate::error::Error;
use crate::instance::Instance;
use crate::ledger::Ledger;
use crate::lock::{self, LEAVE_LOCK, LogLock};
use crate::pause::pause;
use crate::render::Renderer;
use crate::role::Role;
use crate::rotation::Workers;
use crate::session::{self, Found};
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
    /// A total.
    Total,
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

/// An instance with its ledger.
#[derive(Debug)]
pub struct Journal {
    instance: Instance,
    ledger: Ledger,
    renderer: Renderer,
    durable: bool,
}

impl Journal {
    /// Attaches the directory's session, or begins one; finishes what the dead left pending.
    pub fn open(instance: Instance) -> Result<(Self, Found), Error> {
        Self::open_or(instance, |_| ())
    }

    /// The same for a process that has a role; where it fails, gives that back as [`session::leave`] says.
    pub fn open_as(role: Role, instance: Instance) -> Result<(Self, Found), Error> {
        Self::open_or(instance, |instance| {
            // What it may come to is less than why this process ends.
            let _ = session::leave(instance, role);
        })
    }

    fn open_or(instance: Instance, failed: impl FnOnce(&Instance)) -> Result<(Self, Found), Error> {
        let mut renderer = Renderer::default();
        let (ledger, found) =
            attach(&instance, &mut renderer, false).inspect_err(|_| failed(&instance))?;
        Ok((Self { instance, ledger, renderer, durable: false }, found))
    }

    /// The same for a process that outlives a session.
    pub fn reopen(&mut self) -> Result<Found, Error> {
        self.renderer.forget();
        let found;
        (self.ledger, found) = attach(&self.instance, &mut self.renderer, self.durable)?;
        Ok(found)
    }

    /// From now on every transaction is on the disk (`fdatasync(2)`) before it counts as done.
    pub fn set_durable(&mut self) -> Result<(), Error> {
        self.durable = true;
        self.instance.sync_directory()
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
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
    fn lock(&mut self) -> Result<Transaction<'_>, Error> {
        let Self { instance, ledger, renderer, durable } = self;
        let lock = LogLock::wait(instance.log(), || ledger.want_lock())?;
        Transaction::begin(lock, instance, ledger, renderer, *durable)
    }

    /// Takes the log's lock if it is free.
    fn try_lock(&mut self) -> Result<Option<Transaction<'_>>, Error> {
        let Self { instance, ledger, renderer, durable } = self;
        let Some(lock) = LogLock::try_take(instance.log())? else { return Ok(None) };
        Transaction::begin(lock, instance, ledger, renderer, *durable).map(Some)
    }

    /// Accepts submissions: their lines are logged, and the balancer's doorbell rung.
    pub fn accept(&mut self, submissions: &[Submission]) -> Result<Accept, Error> {
        let accepted = self.lock()?.accept(submissions)?;
        if matches!(accepted, Accept::Accepted(1..)) {
            self.ledger.doorbell().ring();
        }
        Ok(accepted)
    }

    /// Which lines are ready to be written. Without the lock, so the answer may be old; but what was
    /// ready before the last holder of the lock let it go is never overlooked.
    pub fn ready(&self) -> Result<Ready, Error> {
        Ok(self.ready_at(&self.cursors()?))
    }

    fn ready_at(&self, at: &Cursors) -> Ready {
        let workers = at.workers();
        if at.all_logged() {
            let next = workers.filter(|_| at.closing == 1).and_then(|workers| {
                workers.ids().nth(usize::try_from(at.totals).unwrap_or(usize::MAX))
            });
            return match next {
                Some(worker) if self.ledger.is_finished(worker) => Ready::Total,
                // A dead client's, for example: its submission is accepted.
                _ if self.ledger.is_pending() => Ready::Pending,
                _ => Ready::Nothing,
            };
        }
        let count = self.ledger.peek_count(at.head);
        let lines = |of: u64| {
            (of.saturating_sub(at.base).min(count)).saturating_sub(at.line % count.max(1))
        };
        if at.line < count {
            return if lines(self.ledger.received()) > 0 {
                Ready::Received
            } else {
                Ready::Nothing
            };
        }
        let executed = workers.map_or(0, |workers| self.ledger.executed_frontier(workers));
        match lines(executed) {
            0 => Ready::Nothing,
            lines => Ready::Executed { lines, all: executed == at.messages },
        }
    }

    /// Writes one transaction of lines that are ready, if the lock is free. Nothing, too, if others have
    /// written the last line meanwhile and removed the session.
    pub fn advance(&mut self) -> Result<Advance, Error> {
        // Read before the lock is taken: what is redone under it counts as written.
        let before = self.cursors()?;
        if self.ready_at(&before) == Ready::Nothing {
            return Ok(Advance::Nothing);
        }
        let mut transaction = match self.try_lock() {
            Ok(Some(transaction)) => transaction,
            Ok(None) => return Ok(Advance::Busy),
            Err(Error::SessionEnded) => return Ok(Advance::Nothing),
            Err(error) => return Err(error),
        };
        transaction.append_ready()?;
        let after = transaction.at;
        let wrote_received = transaction.wrote_received;
        drop(transaction);
        if self.ledger.is_lock_wanted() {
            pause(LEAVE_LOCK);
        }
        if wrote_received {
            // More may be forwarded.
            self.ledger.doorbell().ring();
        }
        if after.head != before.head {
            self.ledger.space().ring();
            if after.all_logged() && self.ledger.is_watched() {
                self.ledger.doorbell().ring();
            }
        }
        if after.totals != before.totals {
            self.ledger.doorbell().ring();
        }
        // Nothing although lines looked ready: another holder was quicker.
        Ok(if after == before { Advance::Nothing } else { Advance::Wrote })
    }

    /// Records that N workers share the session; refused when it began with another N.
    pub fn set_workers(&mut self, workers: Workers) -> Result<(), Error> {
        self.lock()?.set_workers(workers)
    }

    /// Closes the session if `no_more` says so, under the lock: from then on submissions go to the
    /// next session. Returns false if another process holds the lock; true also when others have ended
    /// and removed the session.
    pub fn try_close(
        &mut self,
        no_more: impl FnOnce(&Instance, &Cursors) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let mut transaction = match self.try_lock() {
            Ok(Some(transaction)) => transaction,
            Ok(None) => return Ok(false),
            Err(Error::SessionEnded) => return Ok(true),
            Err(error) => return Err(error),
        };
        if transaction.at.closing == 0 && no_more(transaction.instance, &transaction.at)? {
            transaction.put(Cursors { closing: 1, ..transaction.at })?;
        }
        Ok(true)
    }

    /// Puts the whole log on the disk, also what processes wrote that are not durable.
    pub fn sync_if_durable(&self) -> Result<(), Error> {
        if self.durable { self.instance.log().sync_data().map_err(Error::Log) } else { Ok(()) }
    }

    /// Removes the session's IPC objects, after the totals.
    pub fn remove_objects(&mut self) -> Result<(), Error> {
        let transaction = self.lock()?;
        let at = transaction.at;
        if !at.is_ended() {
            return Ok(());
        }
        session::remove(transaction.instance, transaction.ledger, &at)
    }

    /// The end of a process that had a role: gives it back as [`session::leave`] says, whatever the
    /// process came to, and tells the balancer.
    pub fn leave(self, role: Role, outcome: Result<u8, Error>) -> Result<u8, Error> {
        let left = session::leave(&self.instance, role);
        self.ledger.doorbell().ring();
        outcome.and_then(|code| left.map(|_| code))
    }
}

fn attach(
    instance: &Instance,
    renderer: &mut Renderer,
    durable: bool,
) -> Result<(Ledger, Found), Error> {
    let lock = LogLock::wait(instance.log(), || ())?;
    let (ledger, found) = session::attach(instance)?;
    // Under the same lock: let go in between, the session may be ended and removed by others.
    drop(Transaction::begin(lock, instance, &ledger, renderer, durable)?);
    Ok((ledger, found))
}
