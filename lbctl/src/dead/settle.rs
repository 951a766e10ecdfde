//! Dead letters, submitted again and dropped.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use common::dead::Letter;
use common::dead::settled::{Fate, Settled};
use common::error::Error;
use common::grammar::message_id::MessageId;
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::instance::objects;
use common::instance::role::Role;
use common::log::journal::{Accept, Journal};
use common::log::retry::Retry;
use common::session::end;

/// How often a waiting one looks whether the session it waits for is gone.
const TICK: Duration = Duration::from_secs(1);

/// A client, as long as it lives.
pub(super) struct Settler {
    instance: Instance,
    settled: Settled,
    told_waiting: bool,
}

impl Settler {
    pub(super) fn new(dir: &Path) -> Result<Self, Error> {
        let instance = Instance::open(dir)?;
        // As long as this is held, a load balancer waits for more.
        instance.hold(Role::Client)?;
        let settled = Settled::open(instance.directory())?;
        Ok(Self { instance, settled, told_waiting: false })
    }

    /// Submits what a letter carries. Returns false, after saying why, if it cannot.
    pub(super) fn submit(&mut self, Letter { id, text, .. }: &Letter) -> Result<bool, Error> {
        let submission = match Submission::new(text.as_bytes(), 1) {
            Ok(submission) => submission,
            Err(error) => {
                common::tell!("lbctl: {id}: {error}; left out");
                return Ok(false);
            }
        };
        let before = self.retry(*id, &submission).inspect_err(|error| match error {
            Error::LogUnclear(_) => common::tell!(
                "lbctl: may have been accepted: {id}; a repetition finds out, and submits nothing twice"
            ),
            _ => common::tell!("lbctl: not accepted: {id}; it stays a dead letter"),
        })?;
        let done = format!("accepted {submission} (was {id})");
        report(*id, before, Fate::Retried, &done)
    }

    /// Takes a letter off the list. Returns false, after saying why, if it cannot.
    pub(super) fn drop(&mut self, Letter { id, .. }: &Letter) -> Result<bool, Error> {
        let before = self.drop_letter(*id)?;
        report(*id, before, Fate::Dropped, &format!("dropped {id}"))
    }

    fn drop_letter(&mut self, id: MessageId) -> Result<Option<Fate>, Error> {
        loop {
            let dropped = self.settled.drop_letter(&self.instance, id);
            if let Some(fate) = self.unless_over(dropped)? {
                return Ok(fate);
            }
        }
    }

    /// Returns what had become of it before.
    fn retry(
        &mut self,
        id: MessageId,
        submission: &Submission<&str>,
    ) -> Result<Option<Fate>, Error> {
        loop {
            let tried = self.retry_in_this_log(id, submission);
            if let Some(fate) = self.unless_over(tried)? {
                return Ok(fate);
            }
        }
    }

    /// Nothing where the session is over by now, or the log is another one and no session is in the one before.
    fn unless_over<T>(&mut self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Err(Error::SessionEnded) => Ok(None),
            Err(Error::LogReplaced) if end::is_log_left(&self.instance)? => {
                self.instance.reopen()?;
                self.instance.hold(Role::Client)?;
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    fn retry_in_this_log(
        &mut self,
        id: MessageId,
        submission: &Submission<&str>,
    ) -> Result<Option<Fate>, Error> {
        let mut last: Option<Box<Journal<'_>>> = None;
        loop {
            // Looked at before the attempt: space that comes after it changes the word.
            let seen = last.as_ref().map(|journal| (journal, journal.ledger().space().look()));
            let (journal, why) = match self.settled.retry(&self.instance, id, submission)? {
                Retry::Was(fate) => return Ok(Some(fate)),
                Retry::Now(_, Accept::Accepted(1..)) => return Ok(None),
                Retry::Now(journal, Accept::Accepted(0)) => (journal, "the ledger is full"),
                Retry::Now(journal, Accept::Closing) => (journal, "the session before is ending"),
            };
            // Else it is looked at once more: it may be another session by now.
            if let Some((last, seen)) = seen {
                if !std::mem::replace(&mut self.told_waiting, true) {
                    let hint = self.instance.no_balancer(journal.cursors()?.workers())?;
                    common::note!("lbctl: waiting: {why}{hint}");
                }
                last.ledger().space().sleep(seen, TICK).map_err(Error::system("futex"))?;
            }
            last = Some(journal);
        }
    }

    /// From now on a load balancer need not wait for more. It may sleep in a session that this one has not seen.
    pub(super) fn end(self) -> Result<(), Error> {
        let released = self.instance.release(Role::Client);
        if let Ok(Some(ledger)) = objects::find_ledger(self.instance.directory()) {
            ledger.doorbell().ring();
        }
        released
    }
}

/// Says what was done, or what had become of a letter before. Returns whether it is as was wanted.
fn report(id: MessageId, before: Option<Fate>, wanted: Fate, done: &str) -> Result<bool, Error> {
    match before {
        None => {
            let mut stdout = io::stdout().lock();
            let printed = writeln!(stdout, "{done}").and_then(|()| stdout.flush());
            printed.map_err(Error::system("done, but standard output"))?;
            return Ok(true);
        }
        Some(Fate::Dropped) => common::tell!("lbctl: {id} was dropped before"),
        Some(_) => common::tell!("lbctl: {id} was submitted again before"),
    }
    Ok(before == Some(wanted))
}
