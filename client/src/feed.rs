//! Hands submissions over, waits where it must, and confirms them.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use common::error::Error;
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::log::journal::{Accept, Journal};

use crate::awaited::Awaited;

/// How often a waiting client looks whether the session it waits for is gone.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Feed<'a, 'w> {
    instance: &'a Instance,
    /// The session that was submitted to last.
    journal: Option<Journal<'a>>,
    quiet: bool,
    durable: bool,
    told_waiting: bool,
    /// Submissions that were accepted, but not confirmed: nobody reads any more what is printed.
    unread: &'w mut u64,
    /// What is printed: kept for its room only. Made anew for each batch, it had the heap grow and shrink with each.
    lines: Vec<u8>,
    /// What is waited for in the end.
    awaited: Option<&'w mut Awaited>,
}

impl<'a, 'w> Feed<'a, 'w> {
    pub(crate) fn new(
        instance: &'a Instance,
        quiet: bool,
        durable: bool,
        unread: &'w mut u64,
        awaited: Option<&'w mut Awaited>,
    ) -> Self {
        let (journal, told_waiting, lines) = (None, false, Vec::new());
        Self { instance, journal, quiet, durable, told_waiting, unread, lines, awaited }
    }

    /// Nothing follows. Hands out the session that was submitted to last.
    pub(crate) fn finish(self) -> Option<Journal<'a>> {
        self.journal
    }

    /// Returns once all of them are accepted and confirmed. With an error those stay that are not accepted.
    pub(crate) fn submit(&mut self, left: &mut &[Submission<&str>]) -> Result<(), Error> {
        while !left.is_empty() {
            // Looked at before the attempt: space that comes after it changes the word.
            let seen = self.journal.as_ref().map(|journal| journal.ledger().space().look());
            match self.try_submit(left) {
                Ok(Accept::Accepted(0)) => self.wait(seen, "the ledger is full")?,
                Ok(Accept::Accepted(count)) => {
                    if let (Some(awaited), Some(journal)) = (&mut self.awaited, &self.journal) {
                        awaited.add(journal, journal.accepted())?;
                    }
                    let (accepted, rest) = left.split_at(count);
                    *left = rest;
                    self.confirm(accepted)?;
                }
                Ok(Accept::Closing) => self.wait(seen, "the session before is ending")?,
                Err(Error::SessionEnded) => self.journal = None,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn try_submit(&mut self, submissions: &[Submission<&str>]) -> Result<Accept, Error> {
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
            let hint = self.instance.no_balancer(journal.cursors()?.workers())?;
            common::note!("client: waiting: {why}{hint}");
        }
        let (space, start, mut seen) = (journal.ledger().space(), Instant::now(), seen);
        // Many may be woken for the same room: who comes too late sees that without the lock. Now and then all the
        // rest is looked at, too.
        while let Some(left) = TICK.checked_sub(start.elapsed()) {
            space.sleep(seen, left).map_err(Error::system("futex"))?;
            seen = space.look();
            if journal.may_accept()? {
                break;
            }
        }
        Ok(())
    }

    fn confirm(&mut self, accepted: &[Submission<&str>]) -> Result<(), Error> {
        if self.quiet {
            return Ok(());
        }
        let lines = &mut self.lines;
        lines.clear();
        for submission in accepted {
            lines.extend_from_slice(b"accepted ");
            submission.append_to(lines);
            lines.push(b'\n');
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(lines).and_then(|()| stdout.flush()) {
            // As head(1) does, once it has its lines.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                *self.unread += accepted.len() as u64;
                Ok(())
            }
            printed => printed.map_err(Error::system("accepted, but standard output")),
        }
    }
}
