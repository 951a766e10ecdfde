//! Transactions: under the log's lock, lines appended to `sistem.log` together with the ledger's step.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;

use crate::cursors::Cursors;
use crate::error::Error;
use crate::fence::shared_memory;
use crate::instance::Instance;
use crate::journal::Accept;
use crate::layout::RING_LEN;
use crate::ledger::Ledger;
use crate::lock::LogLock;
use crate::render::{Limits, Renderer, TRANSACTION_LEN};
use crate::rotation::{WORKERS_MAX, WorkerId, Workers};
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
        let stat = shared_memory::stat(ledger.segment_id());
        if !stat.is_ok_and(|stat| !stat.removed) {
            let ended = ledger.cursors().is_ok_and(|at| at.is_ended());
            return Err(if ended { Error::SessionEnded } else { Error::LedgerRemoved });
        }
        if let Some((from, to)) = ledger.pending()? {
            renderer.between(ledger, &from, &to)?;
            let done = check_tail(instance.log(), renderer.bytes(), from.log_len, log_len)?;
            write(instance, ledger, &renderer.bytes()[done..], durable, from.log_len)?;
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
        self.ledger.commit(&next);
        write(self.instance, self.ledger, bytes, self.durable, self.at.log_len)?;
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
        let beyond = (workers.get() + 1..=WORKERS_MAX)
            .rev()
            .filter_map(|k| WorkerId::new(k).ok())
            .find(|&worker| self.ledger.executed(worker) > 0);
        match beyond {
            None if free => {
                // Queues that an earlier load balancer made for more workers would be forgotten.
                for worker in self.at.workers().into_iter().flat_map(Workers::ids) {
                    if worker.get() > workers.get() {
                        session::remove_queues(self.instance, worker)?;
                    }
                }
                self.put(Cursors { workers: asked, ..self.at })
            }
            _ => Err(Error::OtherWorkers {
                // Rebuilt from the log, N may not be known, but who has executed something is.
                session: match (self.at.workers, beyond) {
                    (0, Some(beyond)) => beyond.get(),
                    (workers, _) => workers as u32,
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
    let Some(expected) = usize::try_from(done).ok().and_then(|done| bytes.get(..done)) else {
        return Err(Error::LogForeign { at: from + bytes.len() as u64 });
    };
    let mut found = vec![0; expected.len()];
    log.read_exact_at(&mut found, from).map_err(Error::Log)?;
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        Some(at) => Err(Error::LogForeign { at: from + at as u64 }),
        None => Ok(expected.len()),
    }
}

/// Appends a committed transaction's bytes and finishes it. Where that fails, for want of room, it is
/// taken back: no half line stays, and nothing counts as accepted.
fn write(
    instance: &Instance,
    ledger: &Ledger,
    bytes: &[u8],
    durable: bool,
    log_len_before: u64,
) -> Result<(), Error> {
    let mut log = instance.log();
    let sync = durable && !bytes.is_empty();
    let written = log.write_all(bytes).and_then(|()| if sync { log.sync_data() } else { Ok(()) });
    match written {
        Ok(()) => {
            ledger.finish();
            Ok(())
        }
        Err(error) => {
            log.set_len(log_len_before).map_err(Error::Log)?;
            ledger.withdraw();
            Err(Error::LogWrite(error))
        }
    }
}
