//! Nobody waits for a turn to write a line: whoever gets the lock writes every line that is ready, for all.
//!
//! A worker counts what it has executed, and goes on. The worker or balancer that gets the lock writes the lines of all
//! workers (flat combining). So that no ready line is left, it looks again after unlocking; and a worker that found the
//! lock taken rings for the balancer, which tries again until it gets it.

use std::thread;
use std::time::Instant;

use crate::error::Error;
use crate::instance::lock::LEAVE_LOCK;
use crate::ledger::cursors::Cursors;

use super::journal::Journal;
use super::transaction::unless_ended;

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

impl Journal<'_> {
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
            // Woken for every bit of it, clients and loggers would wait for each other in turns.
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
}
