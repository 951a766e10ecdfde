//! Transactions: under the log's lock, lines appended to `sistem.log` together with the ledger's step.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::FileExt;

use crate::cursors::Cursors;
use crate::error::Error;
use crate::instance::Instance;
use crate::journal::Accept;
use crate::layout::RING_LEN;
use crate::ledger::Ledger;
use crate::lock::LogLock;
use crate::render::{Limits, Renderer, TRANSACTION_LEN};
use crate::rotation::{WorkerId, Workers};
use crate::session;
use crate::submission::Submission;

/// One holding of the lock, in which any number of transactions may follow each other.
pub(crate) struct Transaction<'a> {
    _lock: LogLock<'a>,
    pub(crate) instance: &'a Instance,
    pub(crate) ledger: &'a Ledger,
    renderer: &'a mut Renderer,
    durable: bool,
    /// The state as of now.
    pub(crate) at: Cursors,
    /// `Received` lines were among what was written.
    pub(crate) wrote_received: bool,
}

impl<'a> Transaction<'a> {
    /// Checks that log and ledger are the session's and agree, and redoes what is pending.
    pub(crate) fn begin(
        lock: LogLock<'a>,
        instance: &'a Instance,
        ledger: &'a Ledger,
        renderer: &'a mut Renderer,
        durable: bool,
    ) -> Result<Self, Error> {
        let mut log_len = instance.checked_log_len()?;
        if ledger.is_removed() {
            let ended = ledger.cursors().is_ok_and(|at| at.is_ended());
            return Err(if ended { Error::SessionEnded } else { Error::LedgerRemoved });
        }
        if let Some((from, to)) = ledger.pending()? {
            renderer.between(ledger, &from, &to)?;
            let done = check_tail(instance.log(), renderer.bytes(), from.log_len, log_len)?;
            let sync = durable && !renderer.bytes().is_empty();
            write(instance, ledger, &renderer.bytes()[done..], sync, &from, &to)?;
            log_len = to.log_len;
            // The dead one cannot.
            ledger.doorbell().ring();
            ledger.space().ring();
        }
        // The next transaction begins with nothing: neither with what was redone, which is in the log
        // now, nor with what did not fit on a full disk.
        renderer.clear();
        let at = ledger.cursors()?;
        check_len(at.log_len, log_len)?;
        Ok(Self { _lock: lock, instance, ledger, renderer, durable, at, wrote_received: false })
    }

    /// One transaction: the rendered bytes, and the cursors behind them.
    pub(crate) fn put(&mut self, next: Cursors) -> Result<(), Error> {
        let bytes = self.renderer.bytes();
        let next = Cursors { log_len: self.at.log_len + bytes.len() as u64, ..next };
        let sync = self.durable && !bytes.is_empty();
        self.ledger.commit(&next);
        write(self.instance, self.ledger, bytes, sync, &self.at, &next)?;
        self.at = next;
        self.wrote_received |= self.renderer.wrote_received();
        self.renderer.clear();
        Ok(())
    }

    pub(crate) fn accept(&mut self, submissions: &[Submission]) -> Result<Accept, Error> {
        if self.at.is_ended() {
            return Err(Error::SessionEnded);
        }
        if self.at.closing == 1 {
            return Ok(Accept::Closing);
        }
        self.renderer.clear();
        let mut next = self.at;
        let mut accepted = 0;
        for submission in submissions {
            let tail = next.tail + Ledger::record_len(submission);
            if tail - next.head > RING_LEN || self.renderer.bytes().len() >= TRANSACTION_LEN {
                break;
            }
            self.ledger.write_submission(next.tail, submission);
            self.renderer.submission(submission);
            next.tail = tail;
            next.submissions += 1;
            next.messages += u64::from(submission.count());
            accepted += 1;
        }
        if accepted > 0 {
            self.put(next)?;
        }
        Ok(Accept::Accepted(accepted))
    }

    pub(crate) fn append_ready(&mut self) -> Result<(), Error> {
        self.renderer.clear();
        let mut next = self.at;
        let executed = next.workers().map_or(0, |workers| self.ledger.executed_frontier(workers));
        let received = self.ledger.received();
        if received > next.messages || executed > received {
            return Err(Error::Damaged("its counters say more than was accepted"));
        }
        let limits =
            Limits { received, executed, stop: (next.tail, 0), bytes: TRANSACTION_LEN, runs: true };
        self.renderer.lines(self.ledger, &mut next, &limits)?;
        if next.all_logged() && next.closing == 1 {
            let ledger = self.ledger;
            self.renderer.totals(&mut next, self.at.workers, |worker| ledger.is_finished(worker));
        }
        if next == self.at { Ok(()) } else { self.put(next) }
    }

    pub(crate) fn set_workers(&mut self, workers: Workers) -> Result<(), Error> {
        let asked = u64::from(workers.get());
        if self.at.workers == asked {
            return Ok(());
        }
        // Before the first message was taken, nothing depends on N.
        let free = self.at.workers == 0 || self.ledger.received() == 0;
        // A rebuilt ledger knows workers that must be among the N, but perhaps not N.
        let beyond = WorkerId::all()
            .rev()
            .take_while(|worker| worker.get() > workers.get())
            .find(|&worker| self.ledger.executed(worker) > 0);
        // Totals of a session that is not finished are not those of all its workers.
        let enough = self.at.totals == 0 || self.at.totals < asked;
        match beyond {
            None if free && enough => {
                // Queues that an earlier load balancer made for more workers would be forgotten.
                let before = self.at.workers().into_iter().flat_map(Workers::ids);
                let more = before.filter(|worker| worker.get() > workers.get());
                session::remove_queues(self.instance, more)?;
                self.put(Cursors { workers: asked, ..self.at })
            }
            _ => Err(Error::OtherWorkers {
                // Rebuilt from the log, N may not be known, but who has executed something is.
                session: match self.at.workers {
                    0 => beyond.map_or(0, WorkerId::get).max(self.at.totals as u32 + 1),
                    workers => workers as u32,
                },
                asked: workers.get(),
            }),
        }
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
    let Some(done) = log_len.checked_sub(from) else {
        return Err(Error::LogTruncated { len: log_len, written: from });
    };
    let expected = &bytes[..usize::try_from(done).unwrap_or(usize::MAX).min(bytes.len())];
    let mut found = vec![0; expected.len()];
    log.read_exact_at(&mut found, from).map_err(Error::Log)?;
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        return Err(Error::LogForeign { at: from + at as u64 });
    }
    check_len(from + expected.len() as u64, log_len)?;
    Ok(expected.len())
}

/// Appends what is missing of a committed transaction's bytes and finishes it. Where that fails, for want of
/// room or because a foreign program wrote there first, it is taken back: nothing counts as accepted.
fn write(
    instance: &Instance,
    ledger: &Ledger,
    bytes: &[u8],
    sync: bool,
    from: &Cursors,
    to: &Cursors,
) -> Result<(), Error> {
    let mut log = instance.log();
    let written = log.write_all(bytes).and_then(|()| if sync { log.sync_data() } else { Ok(()) });
    if let Err(error) = written {
        // No half line stays.
        log.set_len(from.log_len).map_err(Error::Log)?;
        ledger.withdraw();
        return Err(Error::LogWrite(error));
    }
    if !bytes.is_empty() {
        // In append mode the position tells where the bytes came to stand.
        let end = log.stream_position().map_err(Error::Log)?;
        if end != to.log_len {
            ledger.withdraw();
            let before = end - bytes.len() as u64;
            return Err(if end > to.log_len {
                Error::LogForeign { at: from.log_len }
            } else {
                Error::LogTruncated { len: before, written: to.log_len - bytes.len() as u64 }
            });
        }
    }
    ledger.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::shared_memory;

    /// A foreign program appended, without the lock, after the length was checked and before the write.
    /// Its bytes counted as ours, and the advice was to cut as many of ours off.
    #[test]
    fn bytes_that_came_in_between_were_taken_for_ours() {
        fn begin<'a>(i: &'a Instance, l: &'a Ledger, r: &'a mut Renderer) -> Transaction<'a> {
            let lock = LogLock::try_take(i.log()).unwrap().unwrap();
            Transaction::begin(lock, i, l, r, false).unwrap()
        }
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let ledger = session::attach(&instance).unwrap().0;
        let mut renderer = Renderer::default();
        let submission = [Submission::parse(b"a;1").unwrap()];
        let log_path = dir.path().join(crate::instance::LOG_NAME);

        let mut transaction = begin(&instance, &ledger, &mut renderer);
        std::fs::write(&log_path, "stranger\n").unwrap();
        let refused = transaction.accept(&submission);
        assert!(matches!(refused, Err(Error::LogForeign { at: 0 })), "{refused:?}");
        drop(transaction);
        // As the message says.
        instance.log().set_len(0).unwrap();
        let accepted = begin(&instance, &ledger, &mut renderer).accept(&submission).unwrap();
        assert_eq!(accepted, Accept::Accepted(1));
        let log = std::fs::read_to_string(&log_path).unwrap();
        assert_eq!(log, "Message from client: a\nMessage count: 1\n");
        shared_memory::remove(ledger.segment_id()).unwrap();
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
