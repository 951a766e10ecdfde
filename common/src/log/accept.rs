//! Submissions are accepted: logged, and not to be lost.

use crate::error::Error;
use crate::grammar::submission::Submission;
use crate::instance::Instance;
use crate::instance::lock::{LogLock, Wait};
use crate::session::begin::{self, Opened, lock_session};

use super::journal::{Accept, Journal};
use super::transaction::Transaction;

impl<'a> Journal<'a> {
    /// Attaches the directory's unfinished session, if there is one, and finishes what the dead left pending.
    /// If `durable`, every transaction is on the disk (`fdatasync(2)`) before it counts as done.
    pub fn open(instance: &'a Instance, durable: bool) -> Result<Opened<Box<Self>>, Error> {
        let lock = lock_session(instance, durable)?;
        let (ledger, rebuilt) = match begin::attach(instance, durable)? {
            Opened::Nothing => return Ok(Opened::Nothing),
            Opened::Remains => return Ok(Opened::Remains),
            Opened::Session(ledger, rebuilt) => (ledger, rebuilt),
        };
        let mut journal = Self::of(instance, ledger, durable);
        // Under the same lock: let go in between, the session may be ended and removed by others.
        drop(Transaction::begin(lock, &mut journal)?);
        Ok(Opened::Session(Box::new(journal), rebuilt))
    }

    /// Submits to the directory's session, which begins with this if there is none.
    pub fn submit(
        instance: &'a Instance,
        submissions: &[Submission<&str>],
        durable: bool,
    ) -> Result<(Self, Accept), Error> {
        let lock = lock_session(instance, durable)?;
        let ledger = match begin::attach(instance, durable)? {
            Opened::Session(ledger, _) => ledger,
            Opened::Nothing | Opened::Remains => begin::create(instance)?,
        };
        let mut journal = Self::of(instance, ledger, durable);
        let accepted = Transaction::begin(lock, &mut journal)
            .and_then(|mut transaction| transaction.accept(submissions));
        journal.ledger.doorbell().ring();
        Ok((journal, accepted?))
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

    /// Makes something that the session's end removes: as long as this has the log's lock, it does not end. Nothing if it
    /// has. `says_who`: whether to say who has the lock, if that is long.
    pub fn unless_removed<T>(
        &self,
        says_who: bool,
        make: impl FnOnce(&Instance) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let wait = if says_who { Wait::Asking } else { Wait::Silently };
        let _lock = LogLock::wait(self.instance.log(), &wait(&self.ledger))?;
        if self.ledger.is_removed()? { Ok(None) } else { make(self.instance).map(Some) }
    }
}
