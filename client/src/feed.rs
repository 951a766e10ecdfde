//! Hands submissions over, waits where it must, and confirms them.

use std::io::{self, Write};
use std::time::Duration;

use common::error::Error;
use common::instance::Instance;
use common::journal::{Accept, Journal};
use common::role::Role;
use common::session;
use common::submission::Submission;

/// How often a waiting client looks whether the session it waits for is gone.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Feed {
    state: State,
    quiet: bool,
    durable: bool,
    told_waiting: bool,
}

/// The ledger is only attached, or made, for the first valid submission.
enum State {
    Idle(Option<Instance>),
    Attached(Box<Journal>),
}

impl Feed {
    pub(crate) fn new(instance: Instance, quiet: bool, durable: bool) -> Self {
        Self { state: State::Idle(Some(instance)), quiet, durable, told_waiting: false }
    }

    fn journal(&mut self) -> Result<&mut Journal, Error> {
        if let State::Idle(instance) = &mut self.state
            && let Some(instance) = instance.take()
        {
            let (mut journal, _) = Journal::open_as(Role::Client, instance)?;
            if self.durable {
                journal.set_durable()?;
            }
            self.state = State::Attached(Box::new(journal));
        }
        match &mut self.state {
            State::Attached(journal) => Ok(journal),
            State::Idle(_) => Err(Error::LedgerRemoved),
        }
    }

    /// Returns once all of them are accepted and confirmed.
    pub(crate) fn submit(&mut self, submissions: &[Submission]) -> Result<(), Error> {
        let mut left = submissions;
        while !left.is_empty() {
            let journal = self.journal()?;
            // Looked at before the attempt: space that comes after it changes the word.
            let seen = journal.ledger().space().look();
            match journal.accept(left) {
                Ok(Accept::Accepted(0)) => self.wait(seen, "the ledger is full")?,
                Ok(Accept::Accepted(count)) => {
                    let (accepted, rest) = left.split_at(count);
                    left = rest;
                    self.confirm(accepted)?;
                }
                Ok(Accept::Closing) => self.wait(seen, "the session before is ending")?,
                Err(Error::SessionEnded) => drop(journal.reopen()?),
                Err(error) => {
                    let first = left.first().map(ToString::to_string).unwrap_or_default();
                    common::tell!("client: not accepted: {first} ({} in all)", left.len());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, seen: u32, why: &str) -> Result<(), Error> {
        let told = std::mem::replace(&mut self.told_waiting, true);
        let journal = self.journal()?;
        if !told {
            let balancer = journal.instance().is_held_by_another(Role::Balancer)?;
            let hint = if balancer { "" } else { "; no load balancer is running: start one" };
            common::tell!("client: waiting: {why}{hint}");
        }
        journal.ledger().space().sleep(seen, TICK)
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

    /// Tells the balancer that this client feeds no more. A ledger that only this client has used, and
    /// in vain, does not stay behind.
    pub(crate) fn end(self, outcome: Result<u8, Error>) -> Result<u8, Error> {
        match self.state {
            State::Attached(journal) => journal.leave(Role::Client, outcome),
            State::Idle(Some(instance)) => {
                let left = session::leave(&instance, Role::Client);
                outcome.and_then(|code| left.map(|_| code))
            }
            State::Idle(None) => outcome,
        }
    }
}
