//! Hands submissions over, waits where it must, and confirms them.

use std::io::{self, Write};
use std::time::Duration;

use common::advice::LOG;
use common::error::Error;
use common::instance::Instance;
use common::journal::{Accept, Journal};
use common::role::Role;
use common::session;
use common::submission::Submission;

/// How often a waiting client looks whether the session it waits for is gone.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Feed<'a> {
    instance: &'a Instance,
    /// The session that was submitted to last.
    journal: Option<Journal<'a>>,
    quiet: bool,
    durable: bool,
    told_waiting: bool,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(instance: &'a Instance, quiet: bool, durable: bool) -> Self {
        Self { instance, journal: None, quiet, durable, told_waiting: false }
    }

    /// Returns once all of them are accepted and confirmed; or with those that are not, when there is no session
    /// and the log is another one by now.
    pub(crate) fn submit(&mut self, submissions: &mut Vec<Submission>) -> Result<(), Error> {
        let mut done = 0;
        let outcome = self.submit_from(submissions, &mut done);
        submissions.drain(..done);
        outcome
    }

    fn submit_from(&mut self, all: &[Submission], done: &mut usize) -> Result<(), Error> {
        while *done < all.len() {
            let left = &all[*done..];
            // Looked at before the attempt: space that comes after it changes the word.
            let seen = self.journal.as_ref().map(|journal| journal.ledger().space().look());
            match self.try_submit(left) {
                Ok(Accept::Accepted(0)) => self.wait(seen, "the ledger is full")?,
                Ok(Accept::Accepted(count)) => {
                    *done += count;
                    self.confirm(&left[..count])?;
                }
                Ok(Accept::Closing) => self.wait(seen, "the session before is ending")?,
                Err(Error::SessionEnded) => self.journal = None,
                Err(Error::LogReplaced) if self.is_between_sessions()? => return Ok(()),
                Err(error) => {
                    let first = left.first().map(ToString::to_string).unwrap_or_default();
                    let left = left.len();
                    match error {
                        Error::LogUnclear(_) => common::tell!(
                            "client: may have been accepted: {first} ({left} in all); whether it was is shown by {LOG} \
                             once it can be written again"
                        ),
                        _ => common::tell!("client: not accepted: {first} ({left} in all)"),
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn is_between_sessions(&self) -> Result<bool, Error> {
        Ok(session::find(self.instance.directory())?.is_none())
    }

    fn try_submit(&mut self, submissions: &[Submission]) -> Result<Accept, Error> {
        if let Some(journal) = &mut self.journal {
            return journal.accept(submissions);
        }
        let (journal, accepted) = Journal::submit(self.instance, submissions, self.durable)?;
        self.journal = Some(journal);
        Ok(accepted)
    }

    fn wait(&mut self, seen: Option<u32>, why: &str) -> Result<(), Error> {
        let (Some(journal), Some(seen)) = (&self.journal, seen) else {
            return Ok(()); // just attached: looked at once more
        };
        if !std::mem::replace(&mut self.told_waiting, true) {
            let balancer = self.instance.balancer_workers()?.is_some();
            let hint = if balancer { "" } else { "; no load balancer is running: start one" };
            common::tell!("client: waiting: {why}{hint}");
        }
        journal.ledger().space().sleep(seen, TICK).map_err(Error::system("futex"))
    }

    fn confirm(&self, accepted: &[Submission]) -> Result<(), Error> {
        if self.quiet {
            return Ok(());
        }
        let mut lines = Vec::new();
        for submission in accepted {
            // Writing to a Vec cannot fail.
            let _ = writeln!(lines, "accepted {submission}");
        }
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&lines)
            .and_then(|()| stdout.flush())
            .map_err(Error::system("accepted, but standard output"))
    }

    /// Tells the balancer that this client feeds no more.
    pub(crate) fn end(self, outcome: Result<u8, Error>) -> Result<u8, Error> {
        let released = self.instance.release(Role::Client);
        // It may sleep in a session that this client has not seen.
        if let Ok(Some(ledger)) = session::find(self.instance.directory()) {
            ledger.doorbell().ring();
        }
        outcome.and_then(|code| released.map(|()| code))
    }
}
