//! How far this worker has come in its session: counted in the ledger, and logged.

use std::sync::Once;

use common::dead::{self, Letter};
use common::error::{Error, heed_signals};
use common::grammar::rotation::{WorkerId, Workers};
use common::instance::Instance;
use common::instance::line_file::LineFile;
use common::ledger::Ledger;
use common::log::advance::{Advance, Ready};
use common::log::journal::Journal;

use work::Progress;
use work::hand::Hand;

/// With so many lines ready a busy worker logs them; fewer it leaves to whoever is idle first, unless they
/// are all that there is.
const READY_MANY: u64 = 8192;

pub(crate) struct Own<'a> {
    pub(crate) journal: Journal<'a>,
    worker: WorkerId,
    /// Messages executed in this session. The ledger shows the others.
    executed: u64,
    /// That there is no room on the disk.
    reported: Once,
    durable: bool,
}

impl<'a> Own<'a> {
    pub(crate) fn new(journal: Journal<'a>, worker: WorkerId, durable: bool) -> Self {
        let cell = journal.ledger().cell(worker);
        let executed = cell.executed();
        // The life before may have died in an attempt.
        if let Some(it) = cell.in_hand(executed) {
            let mut hand = Hand(it);
            hand.inherit();
            cell.set_in_hand(executed, &hand.0);
        }
        Self { journal, worker, executed, reported: Once::new(), durable }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        self.journal.ledger()
    }

    pub(crate) fn executed(&self) -> u64 {
        self.executed
    }

    /// Whether an earlier life of this worker has written a letter for its next message: then that counts.
    pub(crate) fn is_next_dead(&self) -> Result<bool, Error> {
        // Before N is known no message is this worker's.
        if self.journal.cursors()?.workers().is_none() {
            return Ok(false);
        }
        let file = LineFile::find(self.instance().directory(), dead::NAME)?;
        let Some(file) = file else { return Ok(false) };
        file.has_line(&format!("{{\"id\":\"{}\"", self.id(self.executed)?))
    }

    /// One transaction. A full disk is reported once; the balancer tries again and again.
    pub(crate) fn advance(&mut self) -> Result<Advance, Error> {
        match self.journal.advance() {
            Err(error) if error.is_no_room() => {
                self.reported.call_once(|| common::tell!("worker {}: {error}", self.worker));
                Ok(Advance::Busy)
            }
            advanced => advanced,
        }
    }
}

impl<'a> Progress<'a> for Own<'a> {
    fn instance(&self) -> &'a Instance {
        self.journal.instance()
    }

    fn worker(&self) -> WorkerId {
        self.worker
    }

    fn session(&self) -> u64 {
        self.ledger().session()
    }

    fn workers(&self) -> Result<Workers, Error> {
        let workers = self.journal.cursors()?.workers();
        workers.ok_or_else(|| self.ledger().damaged("it has messages on the way and no workers"))
    }

    fn look(&self) -> Result<(), Error> {
        heed_signals()?;
        if self.ledger().is_removed()? { Err(Error::SessionEnded) } else { Ok(()) }
    }

    fn take_up(&self, own: u64) -> Result<(Hand, bool), Error> {
        let left = self.ledger().cell(self.worker).in_hand(own);
        Ok((Hand(left.unwrap_or_default()), left.is_some()))
    }

    fn set_in_hand(&self, own: u64, hand: &Hand) -> Result<(), Error> {
        self.ledger().cell(self.worker).set_in_hand(own, &hand.0);
        Ok(())
    }

    /// Says how much is executed, and wakes the balancer if it waits for that. Nothing new, as a piece of a text:
    /// it may wait for its room, and cannot see it otherwise.
    fn count(&mut self, executed: u64) {
        let is_new = executed != self.executed;
        self.executed = executed;
        let cell = self.ledger().cell(self.worker);
        cell.set_executed(executed);
        if !is_new || cell.wants_wake(executed) {
            self.ledger().doorbell().ring();
        }
    }

    /// Writes lines that are ready if they are many, or all that there is: then nothing else is on its way, and
    /// there is nothing to wait for.
    fn log_if_many(&mut self) -> Result<(), Error> {
        match self.journal.ready()? {
            Ready::Executed { lines, all } if all || lines >= READY_MANY => {
                self.advance().map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Before sleeping: writes all lines that are ready. If somebody else holds the lock, he looks
    /// again after letting it go; but a foreign program does not, so the balancer is rung for.
    fn log_ready(&mut self) -> Result<(), Error> {
        // The balancer is at it, or asleep: it may be this worker's line that others waited for.
        let is_balancers = matches!(self.journal.ready()?, Ready::Received | Ready::Pending);
        let mut advanced = if is_balancers { Advance::Busy } else { Advance::Wrote };
        while advanced == Advance::Wrote {
            advanced = self.advance()?;
        }
        if advanced == Advance::Busy {
            self.ledger().doorbell().ring();
        }
        Ok(())
    }

    fn keep_letter(&self, letter: &Letter) -> Result<(), Error> {
        let file = LineFile::open(self.instance().directory(), dead::NAME)?;
        file.append(letter, self.durable)
    }
}
