//! The load balancer's loop: take, log, forward; and when nothing is left, the end.

use std::time::{Duration, Instant};

use common::advice::LOG;
use common::cursors::Cursors;
use common::error::{Error, signal_exit_code};
use common::fence::signals;
use common::journal::{Advance, Journal};
use common::role::Role;
use common::rotation::Workers;

use crate::crew::{self, Crew};
use crate::dispatch::Dispatch;

/// The longest sleep: within it, a removed ledger and the death of what has no parent here is noticed.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// The sleep while somebody else holds the log's lock, or the disk is full: at first, since most hold
/// it for less, and at most.
const RETRY_MIN: Duration = Duration::from_micros(50);
const RETRY_MAX: Duration = Duration::from_millis(10);
/// How long a client that feeds nothing is waited for in silence.
const FED_PATIENCE: Duration = Duration::from_millis(500);
/// How often the workers are looked after while there is work; the death of a child is noticed at once.
const TEND_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Balancer<'a> {
    journal: Journal<'a>,
    workers: Workers,
    dispatch: Dispatch,
    crew: &'a mut Crew,
    serve: bool,
    told_draining: bool,
    no_room: bool,
    told_no_room: bool,
    /// Since when the log's lock was taken whenever it was tried, and how long the log was.
    locked: Option<(Instant, u64)>,
    told_locked: bool,
    /// Since when nothing but a client that is open keeps the session from its end.
    fed_since: Option<Instant>,
    told_fed: bool,
    tended: Option<Instant>,
    /// When a worker that died at once is to be started again.
    look_again: Option<Instant>,
    /// How long to sleep when the lock is taken again.
    retry: Duration,
}

impl<'a> Balancer<'a> {
    pub(crate) fn new(
        journal: Journal<'a>,
        workers: Workers,
        crew: &'a mut Crew,
        serve: bool,
    ) -> Result<Self, Error> {
        let dispatch = Dispatch::new(workers, &journal.cursors()?)?;
        Ok(Self {
            journal,
            workers,
            dispatch,
            crew,
            serve,
            told_draining: false,
            no_room: false,
            told_no_room: false,
            locked: None,
            told_locked: false,
            fed_since: None,
            told_fed: false,
            tended: None,
            look_again: None,
            retry: RETRY_MIN,
        })
    }

    /// Runs to the session's end, and returns the exit code.
    pub(crate) fn run(mut self) -> Result<u8, Error> {
        loop {
            // Looked at before looking for work: a ring from here on ends the sleep below.
            let seen = self.journal.ledger().doorbell().look();
            if let Some(signal) = signals::aborted_by() {
                common::tell!("loadbalancer: aborted; start it again to finish the session");
                return Ok(signal_exit_code(signal));
            }
            let draining = signals::is_asked_to_end();
            if draining && !std::mem::replace(&mut self.told_draining, true) {
                self.tell_draining()?;
            }
            // An earlier load balancer may have been asked to drain.
            let ending = draining || !self.serve || self.journal.cursors()?.closing == 1;
            // Set before the look at the cursors: whoever logs the last line after it rings.
            self.journal.ledger().set_watched(ending);

            let mut at = self.journal.cursors()?;
            let took = self.dispatch.take(self.journal.ledger(), &at)?;
            if took {
                self.fed_since = None;
            }
            let mut advanced = self.advance()?;
            at = self.journal.cursors()?;
            self.dispatch.follow(self.journal.instance(), self.journal.ledger());
            let sent = self.dispatch.send(self.journal.ledger(), &at)?;

            let finishing = at.closing == 1 && at.all_logged();
            let busy = took || sent || advanced == Advance::Wrote;
            // Looking after the workers each time would cost more than the work.
            let now = Instant::now();
            let due = self.tended.is_none_or(|then| now - then > TEND_EVERY)
                || self.look_again.is_some_and(|at| at <= now);
            if signals::child_changed() || due || finishing {
                self.look_again = self.tend(finishing)?;
                self.tended = Some(now);
            }
            if finishing {
                if at.totals == u64::from(self.workers.get()) {
                    return self.end();
                }
                self.dispatch.send_finish(self.journal.ledger())?;
            } else if at.closing == 0
                && (draining || !self.serve && at.all_logged())
                && !self.close(draining)?
            {
                advanced = Advance::Busy;
            }
            if advanced == Advance::Busy && !self.no_room {
                self.tell_if_locked()?;
            } else {
                self.locked = None;
            }
            if !busy && self.journal.cursors()? == at {
                self.sleep(seen, advanced)?;
            }
        }
    }

    fn tell_draining(&mut self) -> Result<(), Error> {
        match self.journal.messages_left()? {
            0 => common::tell!("loadbalancer: draining: no messages left"),
            left => {
                common::tell!("loadbalancer: draining: {left} messages left; again to abort");
            }
        }
        Ok(())
    }

    /// Writes one transaction of what is ready. A full disk is waited for.
    fn advance(&mut self) -> Result<Advance, Error> {
        self.no_room = false;
        match self.journal.advance() {
            Err(error) if error.is_no_room() => {
                self.tell_no_room(&error);
                Ok(Advance::Busy)
            }
            Ok(Advance::Wrote) => {
                self.told_no_room = false;
                self.retry = RETRY_MIN;
                Ok(Advance::Wrote)
            }
            advanced => advanced,
        }
    }

    fn tell_no_room(&mut self, error: &Error) {
        self.no_room = true;
        if !std::mem::replace(&mut self.told_no_room, true) {
            common::tell!("loadbalancer: {error}; waiting for room");
        }
    }

    /// Says once who has the lock, if it was taken for long and nothing was written meanwhile.
    fn tell_if_locked(&mut self) -> Result<(), Error> {
        let log_len = self.journal.cursors()?.log_len;
        match self.locked {
            Some((since, then)) if then == log_len => {
                if since.elapsed() > TICK && !std::mem::replace(&mut self.told_locked, true) {
                    let holder = self.journal.lock_holder();
                    common::tell!("loadbalancer: waiting: {holder} has locked {LOG}");
                }
            }
            _ => {
                self.locked = Some((Instant::now(), log_len));
                self.told_locked = false;
            }
        }
        Ok(())
    }

    fn tend(&mut self, finishing: bool) -> Result<Option<Instant>, Error> {
        if self.journal.ledger().is_removed()? {
            let at = self.journal.cursors()?;
            return match at.is_ended() {
                true => Ok(None), // whoever came when all was over was quicker: see end()
                // Its first submission was taken back.
                false if at.submissions == 0 => Err(Error::SessionEnded),
                false => Err(Error::LedgerRemoved),
            };
        }
        match self.journal.check() {
            Err(Error::SessionEnded) => {}
            Err(error) if error.is_no_room() => self.tell_no_room(&error), // for a redo
            checked => checked?,
        }
        let (instance, ledger) = (self.journal.instance(), self.journal.ledger());
        self.dispatch.watch(instance, ledger, finishing)?;
        self.crew.tend(instance, Some((ledger, &self.dispatch)), finishing)
    }

    /// Closes the session: at once when asked to drain; else, once no client feeds any more. Returns false
    /// if it must be tried again.
    fn close(&mut self, draining: bool) -> Result<bool, Error> {
        let mut is_fed = false;
        let closed = self.journal.try_close(|instance, at: &Cursors| {
            let done = draining || at.all_logged();
            is_fed = done && !draining && instance.is_held_by_another(Role::Client)?;
            Ok(done && !is_fed)
        });
        if is_fed {
            let since = *self.fed_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= FED_PATIENCE && !std::mem::replace(&mut self.told_fed, true) {
                common::tell!(
                    "loadbalancer: waiting for a client that is still open (Ctrl-D ends its input)"
                );
            }
        }
        match closed {
            Err(error) if error.is_no_room() => {
                self.tell_no_room(&error); // for a redo
                Ok(false)
            }
            closed => closed,
        }
    }

    fn sleep(&mut self, seen: u32, advanced: Advance) -> Result<(), Error> {
        if !self.dispatch.may_sleep(self.journal.ledger()) {
            return Ok(());
        }
        let mut limit = TICK;
        if advanced == Advance::Busy {
            limit = self.retry;
            self.retry = (2 * self.retry).min(RETRY_MAX);
        } else {
            self.retry = RETRY_MIN;
        }
        if self.fed_since.is_some() && !self.told_fed {
            limit = limit.min(FED_PATIENCE);
        }
        if let Some(look_again) = self.look_again {
            limit = limit.min(look_again.saturating_duration_since(Instant::now()));
        }
        let start = Instant::now();
        self.journal.ledger().doorbell().sleep(seen, limit).map_err(Error::system("futex"))?;
        self.dispatch.awake(self.journal.ledger());
        if start.elapsed() >= TICK / 2 {
            self.dispatch.retry();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<u8, Error> {
        self.crew.wait(crew::END_PATIENCE)?;
        self.journal.sync_if_durable()?;
        self.journal.remove_objects()?;
        Ok(0)
    }
}
