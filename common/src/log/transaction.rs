//! Commit, append, finish: whoever finds a commit without a finish appends what is missing. So lines come into `sistem.log`
//! together with the ledger's step, always under the log's lock.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::FileExt;

use crate::dead::settled;
use crate::error::Error;
use crate::grammar::line::{self, Line};
use crate::grammar::submission::Submission;
use crate::instance::lock::{LogLock, Wait};
use crate::ledger::Ledger;
use crate::ledger::cursors::Cursors;
use crate::session::end;

use super::journal::{Accept, Journal};
use super::render::{Limits, TRANSACTION_LEN};

/// One holding of the lock, in which any number of transactions may follow each other.
pub(crate) struct Transaction<'j, 'a> {
    _lock: LogLock<'a>,
    pub(crate) journal: &'j mut Journal<'a>,
    /// The state as of now.
    pub(crate) at: Cursors,
}

impl<'j, 'a> Transaction<'j, 'a> {
    /// Checks that log and ledger are the session's and agree, and redoes what is pending; then finds out what
    /// came of a dead letter's new submission, if that was cut short.
    pub(crate) fn begin(lock: LogLock<'a>, journal: &'j mut Journal<'a>) -> Result<Self, Error> {
        let log = journal.instance.log();
        let is_removed = journal.ledger.is_removed()?;
        // … or never began: its first transaction was taken back.
        let is_over = |at: Cursors| at.is_ended() || at.submissions == 0;
        // First: the log may have been renamed after it.
        if is_removed && journal.cursors().is_ok_and(is_over) {
            return Err(Error::SessionEnded);
        }
        let mut log_len = journal.instance.checked_log_len()?;
        if is_removed {
            return Err(Error::LedgerRemoved);
        }
        if let Some((from, to)) = journal.ledger.pending()? {
            journal.renderer.between(&journal.ledger, &from, &to)?;
            let done = check_tail(log, journal.renderer.bytes(), from.log_len, log_len)?;
            journal.write(done, &from, &to).map_err(Error::of_another)?;
            log_len = to.log_len;
            // The dead one cannot.
            journal.ledger.doorbell().ring();
            journal.ledger.space().ring();
            journal.ledger.logged().ring();
        }
        // The next transaction begins with nothing: neither with what was redone, which is in the log
        // now, nor with what did not fit on a full disk.
        journal.renderer.clear();
        let at = journal.cursors()?;
        check_len(at.log_len, log_len).map_err(|error| continued(journal, error))?;
        if journal.ledger.is_retrying() {
            settled::resolve(journal.instance)?;
            journal.ledger.set_retrying(false);
        }
        Ok(Self { _lock: lock, journal, at })
    }

    /// One transaction: the rendered bytes, and the cursors after them.
    pub(crate) fn put(&mut self, next: Cursors) -> Result<(), Error> {
        let log_len = self.at.log_len + self.journal.renderer.bytes().len() as u64;
        let next = Cursors { log_len, ..next };
        self.journal.ledger.commit(&next);
        self.journal.write(0, &self.at, &next)?;
        self.at = next;
        self.journal.renderer.clear();
        Ok(())
    }

    pub(crate) fn accept(&mut self, submissions: &[Submission<&str>]) -> Result<Accept, Error> {
        self.accept_after(submissions, |_, _| Ok(()))
    }

    /// The same; `before` is done first, once it is certain that there is something to accept, and where in
    /// the log that will be there.
    pub(crate) fn accept_after(
        &mut self,
        submissions: &[Submission<&str>],
        before: impl FnOnce(&Ledger, u64) -> Result<(), Error>,
    ) -> Result<Accept, Error> {
        if self.at.is_ended() {
            return Err(Error::SessionEnded);
        }
        if self.at.is_closing() {
            return Ok(Accept::Closing);
        }
        let Journal { ledger, renderer, record, .. } = &mut *self.journal;
        let mut next = self.at;
        let mut rest = submissions;
        // Only whole records are begun: else one that is full is followed by ever smaller ones.
        while !rest.is_empty() && next.has_room() && renderer.bytes().len() < TRANSACTION_LEN {
            record.clear();
            let fitting = rest.iter().take_while(|submission| record.push(submission)).count();
            let (fitting, others) = rest.split_at(fitting);
            for submission in fitting {
                renderer.submission(submission);
            }
            ledger.write_record(next.tail, record);
            next.tail += record.ring_len();
            next.submissions += record.submissions() as u64;
            next.messages += record.messages();
            rest = others;
        }
        let accepted = submissions.len() - rest.len();
        if accepted > 0 {
            before(ledger, self.at.log_len)?;
            self.journal.accepted = self.at.messages..next.messages;
            self.put(next)?;
        }
        Ok(Accept::Accepted(accepted))
    }

    /// Returns whether `Received` lines were among it.
    pub(crate) fn append_ready(&mut self) -> Result<bool, Error> {
        let Journal { ledger, renderer, .. } = &mut *self.journal;
        let mut next = self.at;
        let executed = next.workers().map_or(0, |workers| ledger.executed_frontier(workers));
        if executed > next.messages {
            return Err(ledger.damaged("its counters say more than was accepted"));
        }
        // What is executed was received. Any other number is damage, which the balancer mends.
        let received = ledger.received().clamp(executed, next.messages);
        let limits = Limits { received, executed, stop: None };
        renderer.lines(ledger, &mut next, &limits)?;
        if ledger.are_totals_ready(&self.at) {
            renderer.totals(&mut next, self.at.workers);
        }
        let wrote_received = renderer.wrote_received();
        if next != self.at {
            self.put(next)?;
        }
        Ok(wrote_received)
    }
}

impl<'a> Journal<'a> {
    /// Waits for the log's lock.
    pub(super) fn lock(&mut self) -> Result<Transaction<'_, 'a>, Error> {
        let lock = LogLock::wait(self.instance.log(), &Wait::Asking(&self.ledger))?;
        Transaction::begin(lock, self)
    }

    /// Takes the log's lock if it is free.
    pub(super) fn try_lock(&mut self) -> Result<Option<Transaction<'_, 'a>>, Error> {
        let Some(lock) = LogLock::try_take(self.instance.log())? else { return Ok(None) };
        Transaction::begin(lock, self).map(Some)
    }

    /// Appends what is missing of a committed transaction's bytes, after those that are done, and finishes it.
    /// Where that fails, for want of room or because a foreign program wrote there first, it is taken back: nothing
    /// counts as accepted. Where it cannot even be taken back it stays pending, for the next holder of the lock.
    fn write(&self, done: usize, from: &Cursors, to: &Cursors) -> Result<(), Error> {
        let mut log = self.instance.log();
        let bytes = &self.renderer.bytes()[done..];
        let mut append = || {
            log.write_all(bytes)?;
            // Also what a dead one may have left in memory.
            if self.durable && !self.renderer.bytes().is_empty() {
                log.sync_data()?;
            }
            // In append mode the position says where the bytes are.
            if bytes.is_empty() { Ok(to.log_len) } else { log.stream_position() }
        };
        let error = match append() {
            Ok(end) if end == to.log_len => {
                self.ledger.finish();
                return Ok(());
            }
            Ok(end) => {
                // Ours come after a stranger's, or in a file that was cut.
                let begin = end.saturating_sub(bytes.len() as u64);
                let is_last = log.metadata().is_ok_and(|now| now.len() == end);
                if !is_last || log.set_len(begin).is_err() {
                    return Err(Error::LogUnclear(io::Error::other("another program changes it")));
                }
                match to.log_len - bytes.len() as u64 {
                    written if begin < written => Error::LogTruncated { len: begin, written },
                    _ => Error::LogForeign { at: from.log_len },
                }
            }
            Err(why) => {
                // No half line stays. On an append-only file nothing can be cut off.
                let is_as_before = || log.metadata().is_ok_and(|now| now.len() == from.log_len);
                if log.set_len(from.log_len).is_err() && !is_as_before() {
                    return Err(Error::LogUnclear(why));
                }
                Error::LogWrite(why)
            }
        };
        self.ledger.withdraw();
        if from.submissions == 0 {
            // It was the first: a ledger always holds a submission.
            end::remove(self.instance, &self.ledger)?;
        }
        Err(error)
    }
}

/// Nothing where the session has ended, and others have removed it.
pub(super) fn unless_ended<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Err(Error::SessionEnded) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// How the log's length must be: as long as what was written to it.
fn check_len(written: u64, log_len: u64) -> Result<(), Error> {
    match log_len {
        len if len < written => Err(Error::LogTruncated { len, written }),
        len if len > written => Err(Error::LogForeign { at: written }),
        _ => Ok(()),
    }
}

/// A dead holder wrote a first part of `bytes` at `from`, and nobody else anything: returns how
/// much.
fn check_tail(log: &File, bytes: &[u8], from: u64, log_len: u64) -> Result<usize, Error> {
    let done = log_len.saturating_sub(from) as usize;
    let expected = &bytes[..done.min(bytes.len())];
    let mut found = vec![0; expected.len()];
    log.read_exact_at(&mut found, from).map_err(Error::Log)?;
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        return Err(Error::LogForeign { at: from + at as u64 });
    }
    check_len(from + expected.len() as u64, log_len).map(|()| expected.len())
}

/// Says of lines after ours, which look like ours, that they may be: this ledger may be left over from another
/// IPC namespace than the one in which its session went on.
fn continued(journal: &Journal<'_>, error: Error) -> Error {
    let Error::LogForeign { at } = error else { return error };
    let mut bytes = [0; line::LEN_MAX + 1];
    let len = journal.instance.log().read_at(&mut bytes, at).unwrap_or(0);
    let line = bytes[..len].split(|&byte| byte == b'\n').next().unwrap_or_default();
    let segment = journal.ledger.segment_id();
    Line::parse_bytes(line).map_or(error, |_| Error::LogContinued { at, segment })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::shared_memory;
    use crate::instance::Instance;

    /// A foreign program appended, without the lock, after the length was checked and before the write.
    /// Its bytes counted as ours, and the advice was to cut as many of ours off.
    #[test]
    fn bytes_that_came_in_between_were_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let first = [Submission::parse(b"a;1").unwrap()];
        let mut journal = Journal::submit(&instance, &first, false).unwrap().0;
        let len = journal.cursors().unwrap().log_len;
        let submission = [Submission::parse(b"b;1").unwrap()];
        let log_path = dir.path().join(crate::grammar::LOG_NAME);

        let mut transaction = journal.try_lock().unwrap().unwrap();
        let mut stranger = File::options().append(true).open(&log_path).unwrap();
        writeln!(stranger, "stranger").unwrap();
        let refused = transaction.accept(&submission);
        assert!(matches!(refused, Err(Error::LogForeign { at }) if at == len), "{refused:?}");
        drop(transaction);
        // As the message says.
        instance.log().set_len(len).unwrap();
        let accepted = journal.try_lock().unwrap().unwrap().accept(&submission).unwrap();
        assert_eq!(accepted, Accept::Accepted(1));
        let log = std::fs::read_to_string(&log_path).unwrap();
        let lines = |text| format!("Message from client: {text}\nMessage count: 1\n");
        assert_eq!(log, lines("a") + &lines("b"));
        shared_memory::remove(journal.ledger().segment_id()).unwrap();
    }

    /// Somebody cut the log in that moment. Ours are at the end of what is left: they are taken back, and the
    /// message says what is missing.
    #[test]
    fn a_log_that_was_cut_in_between_is_told_apart_from_a_foreign_write() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let first = [Submission::parse(b"a;1").unwrap()];
        let mut journal = Journal::submit(&instance, &first, false).unwrap().0;
        let whole = std::fs::read(dir.path().join(crate::grammar::LOG_NAME)).unwrap();
        let written = whole.len() as u64;
        let submission = [Submission::parse(b"b;1").unwrap()];

        let mut transaction = journal.try_lock().unwrap().unwrap();
        instance.log().set_len(5).unwrap();
        let refused = transaction.accept(&submission);
        let reported = Error::LogTruncated { len: 5, written };
        assert_eq!(refused.unwrap_err().to_string(), reported.to_string());
        assert_eq!(instance.checked_log_len().unwrap(), 5, "nothing of ours stays");
        drop(transaction);
        // As the message says.
        instance.log().write_all(&whole[5..]).unwrap();
        let accepted = journal.try_lock().unwrap().unwrap().accept(&submission).unwrap();
        assert_eq!(accepted, Accept::Accepted(1));
        shared_memory::remove(journal.ledger().segment_id()).unwrap();
    }

    #[test]
    fn foreign_bytes_before_and_behind_ours_are_told_apart() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"ours", 0).unwrap();
        assert_eq!(check_tail(&file, b"ours, whole", 0, 4).unwrap(), 4);
        let at = |bytes, from| match check_tail(&file, bytes, from, 4) {
            Err(Error::LogForeign { at }) => at,
            other => panic!("{other:?}"),
        };
        assert_eq!(at(b"ou", 0), 2);
        assert_eq!(at(b"s", 1), 1, "longer than ours, and in front of it");
        assert!(matches!(check_tail(&file, b"x", 5, 4), Err(Error::LogTruncated { .. })));
    }
}
