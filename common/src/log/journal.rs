//! A session's journal: what whoever writes to the log has at hand. What it does is in the files beside this one.

use std::ops::Range;

use crate::error::Error;
use crate::instance::Instance;
use crate::instance::lock;
use crate::ledger::Ledger;
use crate::ledger::cursors::Cursors;
use crate::ledger::record::Record;

use super::render::Renderer;

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

/// What [`Journal::accept`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// So many of the submissions, from the first on, are accepted: logged, and not to be lost. 0:
    /// the ring is full.
    Accepted(usize),
    /// The session is ending: wait for the next one.
    Closing,
}

impl<'a> Journal<'a> {
    /// Attaches the session of which this is the ledger, as
    /// [`find_ledger`](crate::instance::objects::find_ledger) gave it. Takes no lock.
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

    /// The numbers, in the session, of the messages that were accepted last.
    #[must_use]
    pub fn accepted(&self) -> Range<u64> {
        self.accepted.clone()
    }
}
