//! Dead letters submitted anew, or dropped: under the log's lock, as [`settled`](crate::dead::settled) explains.

use std::slice;

use crate::dead::settled::{Entry, Fate, Settled};
use crate::error::Error;
use crate::grammar::message_id::MessageId;
use crate::grammar::submission::Submission;
use crate::instance::Instance;
use crate::session::begin::{self, Opened, lock_session};
use crate::session::end;

use super::journal::{Accept, Journal};
use super::transaction::Transaction;

/// What [`Settled::retry`] came to.
#[derive(Debug)]
pub enum Retry<'a> {
    /// Nothing: that had become of it before.
    Was(Fate),
    /// What became of the submission.
    Now(Box<Journal<'a>>, Accept),
}

impl Settled {
    /// Submits what a letter carries, unless something became of it before. On the disk (`fdatasync(2)`) after that.
    pub fn retry<'a>(
        &mut self,
        instance: &'a Instance,
        id: MessageId,
        submission: &Submission<&str>,
    ) -> Result<Retry<'a>, Error> {
        let lock = lock_session(instance, true)?;
        let ledger = match begin::attach(instance, true)? {
            Opened::Session(ledger, _) => ledger,
            Opened::Nothing | Opened::Remains => {
                if let Some(fate) = self.fate_now(instance, id)? {
                    return Ok(Retry::Was(fate));
                }
                begin::create(instance)?
            }
        };
        let mut journal = Journal::of(instance, ledger, true);
        let mut transaction = Transaction::begin(lock, &mut journal)?;
        // Another one may have been quicker.
        if let Some(fate) = self.fate_now(instance, id)? {
            return Ok(Retry::Was(fate));
        }
        let text = submission.text().to_owned();
        let accepted = transaction.accept_after(slice::from_ref(submission), |ledger, log_len| {
            ledger.set_retrying(true);
            self.append(&Entry::Retrying { id, text, log_len }, true)
        });
        let ledger = &transaction.journal.ledger;
        match &accepted {
            // If it cannot be marked now, the next holder of the lock does it.
            Ok(Accept::Accepted(1..)) => ledger.set_retrying(!self.is_marked(id)),
            // Made for this.
            Err(_) if !ledger.is_published() => end::remove(instance, ledger)?,
            _ => {}
        }
        drop(transaction);
        journal.ledger.doorbell().ring();
        if matches!(accepted, Ok(Accept::Accepted(1..))) {
            journal.pass_on();
        }
        Ok(Retry::Now(Box::new(journal), accepted?))
    }

    fn is_marked(&self, id: MessageId) -> bool {
        self.append(&Entry::Retried { id }, true).is_ok()
    }

    /// Marks a letter as dropped, unless something became of it before: then that is returned.
    pub fn drop_letter(
        &mut self,
        instance: &Instance,
        id: MessageId,
    ) -> Result<Option<Fate>, Error> {
        let lock = lock_session(instance, false)?;
        self.read()?;
        if self.is_open()
            && let Opened::Session(ledger, _) = begin::attach(instance, false)?
        {
            let mut journal = Journal::of(instance, ledger, false);
            let _redone = Transaction::begin(lock, &mut journal)?;
            return self.drop_now(instance, id);
        }
        self.drop_now(instance, id)
    }

    fn drop_now(&mut self, instance: &Instance, id: MessageId) -> Result<Option<Fate>, Error> {
        let fate = self.fate_now(instance, id)?;
        if fate.is_none() {
            // A power loss may bring it back.
            self.append(&Entry::Dropped { id }, false)?;
        }
        Ok(fate)
    }
}
