//! The balancer knows nothing that it cannot read again in the ledger. Its loop: take, forward, log; and when nothing is
//! left, the end.

use std::time::{Duration, Instant};

use common::dead;
use common::error::{Error, exit, signal_exit_code};
use common::fence::signals;
use common::grammar::rotation::Workers;
use common::instance::Instance;
use common::instance::role::Role;
use common::ledger::Ledger;
use common::ledger::cursors::Closing;
use common::log::advance::Advance;
use common::log::journal::Journal;
use common::program::advice::{self, LOG};
use common::program::service_manager;

use crate::bar::{Bar, REFRESH};
use crate::crew::{self, Crew, TICK};
use crate::dispatch::Dispatch;
use crate::lasting::{Lasting, once};
use crate::log_rotation::LogRotation;

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
    dispatch: Dispatch,
    crew: &'a mut Crew,
    serve: bool,
    rotation: &'a mut LogRotation,
    workers: Workers,
    begun: Instant,
    /// Messages that were executed when it began.
    executed_before: u64,
    bar: Bar,
    told_draining: bool,
    told_no_room: bool,
    /// The log's lock was taken whenever it was tried, with the log so long.
    locked: Lasting<u64>,
    /// Nothing but a client that is open keeps the session from its end.
    fed: Lasting<()>,
    tended: Instant,
    /// When to look after the workers again at the latest.
    look_again: Instant,
    /// How long to sleep when the lock is taken again.
    retry: Duration,
}

impl<'a> Balancer<'a> {
    pub(crate) fn new(
        journal: Journal<'a>,
        workers: Workers,
        crew: &'a mut Crew,
        serve: bool,
        rotation: &'a mut LogRotation,
    ) -> Result<Self, Error> {
        let now = Instant::now();
        let executed_before = executed(journal.ledger(), workers);
        Ok(Self {
            dispatch: Dispatch::new(workers, &journal.cursors()?),
            journal,
            crew,
            serve,
            rotation,
            workers,
            begun: now,
            executed_before,
            bar: Bar::new(),
            told_draining: false,
            told_no_room: false,
            locked: Lasting::default(),
            fed: Lasting::default(),
            tended: now,
            look_again: now,
            retry: RETRY_MIN,
        })
    }

    /// Runs to the session's end, and returns the exit code.
    pub(crate) fn run(mut self) -> Result<u8, Error> {
        loop {
            service_manager::beat();
            // Looked at before looking for work: a ring from here on ends the sleep below.
            let seen = self.journal.ledger().doorbell().look();
            if let Some(signal) = signals::aborted_by() {
                common::tell!("loadbalancer: aborted; start it again to finish the session");
                return Ok(signal_exit_code(signal));
            }
            let draining = signals::is_asked_to_end();
            if draining && once(&mut self.told_draining) {
                tell_draining(self.journal.messages_left()?);
            }
            self.rotation.heed();
            let rotates = self.serve && self.rotation.is_due(self.journal.cursors()?.log_len);
            // An earlier load balancer may have been asked to drain.
            let ending = draining || rotates || !self.serve || self.journal.cursors()?.is_closing();
            // Set before the look at the cursors: whoever logs the last line after it rings.
            self.journal.ledger().set_watched(ending);

            let took = self.dispatch.take(self.journal.ledger(), &self.journal.cursors()?)?;
            if took {
                self.fed.since = None;
            }
            // Forwarding comes first: the workers are waiting, and may log meanwhile.
            let mut at = self.journal.cursors()?;
            let mut sent = self.dispatch.send(&self.journal, &at)?;
            let mut advanced = Advance::Nothing;
            if !sent {
                let tried = self.journal.advance();
                advanced = self.wait_for_room(tried, Advance::Busy)?;
                self.told_no_room &= advanced != Advance::Wrote;
                at = self.journal.cursors()?;
                sent = self.dispatch.send(&self.journal, &at)?;
            }

            // Looking after the workers each time would cost more than the work.
            let now = Instant::now();
            let due = self.look_again <= now || now - self.tended > TEND_EVERY;
            if signals::child_changed() || due || self.dispatch.finishing {
                self.tend()?;
            }
            if self.dispatch.finishing && at.is_ended() {
                if !at.rotates() {
                    self.crew.wait(crew::END_PATIENCE)?;
                }
                self.journal.sync_if_durable()?;
                // A log that cannot be renamed is no reason to end.
                match self.journal.remove_objects()? {
                    Some(error) => {
                        common::tell!("loadbalancer: the log is not rotated: {error}");
                        self.rotation.fail(at.log_len);
                    }
                    // Somebody else was quicker, and could not rename it either.
                    None if at.rotates() && !self.journal.instance().is_log_replaced() => {
                        common::tell!("loadbalancer: the log is not rotated: it cannot be renamed");
                        self.rotation.fail(at.log_len);
                    }
                    None => {}
                }
                self.bar.clear();
                return self.sum_up(at.messages);
            }
            let is_over = draining || rotates || !self.serve && at.all_logged();
            let may_close = !at.is_closing() && is_over;
            let busy = took || sent || advanced == Advance::Wrote;
            if may_close && !self.close(draining, rotates)? {
                advanced = Advance::Busy;
            }
            if advanced != Advance::Busy {
                (self.locked, self.retry) = (Lasting::default(), RETRY_MIN);
            } else if self.locked.lasts(at.log_len) > TICK && once(&mut self.locked.reported) {
                let holder = self.journal.lock_holder();
                common::tell!("loadbalancer: waiting: {holder} has locked {LOG}");
            }
            if !busy && self.journal.cursors()? == at {
                self.sleep(seen, advanced == Advance::Busy)?;
            }
        }
    }

    /// A full disk is waited for; that is said once, until something was written.
    fn wait_for_room<T>(&mut self, done: Result<T, Error>, meanwhile: T) -> Result<T, Error> {
        match done {
            Err(error) if error.is_no_room() => {
                self.locked = Lasting::default(); // it was not
                if once(&mut self.told_no_room) {
                    common::tell!("loadbalancer: {error}; waiting for room");
                }
                Ok(meanwhile)
            }
            done => done,
        }
    }

    fn tend(&mut self) -> Result<(), Error> {
        self.tended = Instant::now();
        if self.journal.ledger().is_removed()? {
            let at = self.journal.cursors()?;
            return match at.submissions {
                _ if at.is_ended() => Ok(()), // whoever came when all was over was quicker: see run()
                0 => Err(Error::SessionEnded), // its first submission was taken back
                _ => Err(Error::LedgerRemoved),
            };
        }
        match self.journal.check() {
            Err(Error::SessionEnded) => {}
            checked => self.wait_for_room(checked, ())?, // for a redo
        }
        let session = Some((self.journal.ledger(), &self.dispatch));
        self.look_again = self.crew.tend(self.journal.instance(), session)?;
        service_manager::ready();
        self.show_progress()
    }

    /// Shows whoever watches how far the session is. Where nobody does, nothing is counted.
    fn show_progress(&mut self) -> Result<(), Error> {
        let is_told = service_manager::is_there() && !self.told_draining;
        if !is_told && !self.bar.is_seen() {
            return Ok(());
        }
        let (executed, messages) =
            (executed(self.journal.ledger(), self.workers), self.journal.cursors()?.messages);
        if is_told {
            let n = self.workers;
            service_manager::status(|| format!("{executed} of {messages} messages by {n} workers"));
        }
        if self.bar.is_seen() {
            self.bar.show(executed, messages);
            if executed < messages {
                self.look_again = self.look_again.min(self.tended + REFRESH);
            }
        }
        Ok(())
    }

    /// Says what was done. Returns the exit code.
    fn sum_up(&self, messages: u64) -> Result<u8, Error> {
        let dead = dead_in(self.journal.instance(), self.journal.ledger().session())?;
        let done = messages.saturating_sub(self.executed_before);
        let of = if done < messages { format!(" of {messages}") } else { String::new() };
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let (n, took) = (self.workers.get(), self.begun.elapsed().as_secs_f64());
        let line = format!(
            "loadbalancer: {done}{of} message{} by {n} worker{} in {took:.2} s",
            plural(messages),
            plural(n.into())
        );
        if dead == 0 {
            common::note!("{line}");
            return Ok(0);
        }
        let list = advice::command("lbctl dead list", "");
        common::tell!("{line}; {dead} dead: see `{list}`");
        Ok(exit::PARTLY)
    }

    /// Closes the session: at once when asked to drain, or the log is to be renamed; else, once no client feeds any
    /// more. Returns false if it must be tried again.
    fn close(&mut self, draining: bool, rotates: bool) -> Result<bool, Error> {
        let mut is_fed = false;
        let at_once = draining || rotates;
        let then = if rotates && !draining { Closing::Rotates } else { Closing::Ends };
        let closed = self.journal.try_close(then, |instance, at| {
            is_fed = !at_once && at.all_logged() && instance.is_held_by_another(Role::Client)?;
            Ok(at_once || at.all_logged() && !is_fed)
        });
        if is_fed && self.fed.lasts(()) >= FED_PATIENCE && once(&mut self.fed.reported) {
            common::note!(
                "loadbalancer: waiting for a client that is still open (Ctrl-D ends its input)"
            );
        }
        self.wait_for_room(closed, false) // for a redo
    }

    fn sleep(&mut self, seen: u32, is_locked: bool) -> Result<(), Error> {
        let (ledger, outlets) = (self.journal.ledger(), &mut self.dispatch.outlets);
        if !outlets.iter().all(|outlet| outlet.may_sleep(ledger)) {
            return Ok(());
        }
        let start = Instant::now();
        let mut limit = self.look_again.saturating_duration_since(start);
        limit = limit.min(service_manager::sleep_limit());
        if is_locked {
            limit = limit.min(self.retry);
            self.retry = (2 * self.retry).min(RETRY_MAX);
        }
        if self.fed.since.is_some() && !self.fed.reported {
            limit = limit.min(FED_PATIENCE);
        }
        ledger.doorbell().sleep(seen, limit).map_err(Error::system("futex"))?;
        let long = start.elapsed() >= TICK / 2;
        for outlet in outlets {
            outlet.awake(ledger, long);
        }
        Ok(())
    }
}

/// The exit code of a balancer whose session has ended: whether it had dead messages. They are reported.
pub(crate) fn exit_code(instance: &Instance, session: u64) -> Result<u8, Error> {
    Ok(dead::report("loadbalancer", dead_in(instance, session)?))
}

fn dead_in(instance: &Instance, session: u64) -> Result<u64, Error> {
    let mut dead = 0;
    let mut place = dead::Place::default();
    dead::of_session(instance.directory(), session, &mut place, |_| dead += 1)?;
    Ok(dead)
}

/// Messages that are executed, as far as the ledger can be believed.
pub(crate) fn executed(ledger: &Ledger, workers: Workers) -> u64 {
    workers.ids().fold(0, |sum, worker| ledger.cell(worker).executed().saturating_add(sum))
}

pub(crate) fn tell_draining(left: u64) {
    service_manager::stopping();
    match left {
        0 => common::note!("loadbalancer: draining: no messages left"),
        left => {
            service_manager::status_now(&format!("draining: {left} messages left"));
            common::note!("loadbalancer: draining: {left} messages left; again to abort");
        }
    }
}
