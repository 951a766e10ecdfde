//! A session gets its number of workers, is closed, and comes to its end.

use crate::error::Error;
use crate::grammar::rotation::{WorkerId, Workers};
use crate::instance::Instance;
use crate::ledger::cursors::{Closing, Cursors};
use crate::session::end;

use super::journal::Journal;
use super::transaction::unless_ended;

impl Journal<'_> {
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
                Ok(end::end(instance, ledger, *durable)?.and_then(Result::err))
            }
            _ => Ok(None), // or whoever came when all was over was quicker
        }
    }
}
