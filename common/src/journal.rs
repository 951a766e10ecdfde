//! The only code that writes `sistem.log`. Every append is a transaction of the [ledger](crate::ledger)
//! under one lock: `flock(2)` on the log itself, which the kernel releases when its holder dies, and
//! which keeps out foreign programs that flock it too.
//!
//! Nobody waits for a turn to write one line. A worker counts what it has executed, and whoever gets
//! the lock writes every line that is ready, of all workers (flat combining). So that no ready line is
//! left behind, a writer looks again after unlocking, and a worker that found the lock taken rings for
//! the balancer, which tries again until it gets it.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::fence::shared_memory;
use crate::instance::Instance;
use crate::ledger::{Cursors, Ledger};
use crate::render::{Limits, Renderer, TRANSACTION_LEN};
use crate::rotation::{WORKERS_MAX, WorkerId, Workers};
use crate::session::{self, Found};
use crate::submission::Submission;

/// For so long a writer leaves the lock to a client that asked for it. Without, a client waited up to
/// a second while lines were written in bulk.
const LEAVE_LOCK: Duration = Duration::from_micros(100);

/// What [`Journal::ready`] found: the next line's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// No line is ready.
    Nothing,
    /// `Received` lines.
    Received,
    /// So many `Executed` lines of one submission.
    Executed(u64),
    /// A total.
    Total,
}

/// What [`Journal::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// No line was ready.
    Nothing,
    /// Lines were written; more may be ready.
    Wrote,
    /// Lines are ready, but another process holds the lock.
    Busy,
}

/// What [`Journal::accept`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// So many of the submissions, from the first on, are accepted: logged, and not to be lost. 0:
    /// the ring is full.
    Accepted(usize),
    /// The session is ending: wait for the next one.
    Closing,
}

/// An instance with its ledger.
#[derive(Debug)]
pub struct Journal {
    instance: Instance,
    ledger: Ledger,
    renderer: Renderer,
    durable: bool,
}

impl Journal {
    /// Attaches the directory's session, or begins one; finishes what the dead left pending.
    pub fn open(instance: Instance) -> Result<(Self, Found), Error> {
        let lock = LogLock::wait(instance.log(), || ())?;
        let (ledger, found) = session::attach(&instance)?;
        drop(lock);
        let mut journal = Self { instance, ledger, renderer: Renderer::default(), durable: false };
        journal.transact(|_| Ok(()))?;
        Ok((journal, found))
    }

    /// The same for a process that outlives a session.
    pub fn reopen(&mut self) -> Result<(), Error> {
        let lock = LogLock::wait(self.instance.log(), || ())?;
        self.ledger = session::attach(&self.instance)?.0;
        drop(lock);
        self.renderer.forget();
        self.transact(|_| Ok(()))
    }

    /// From now on every transaction is on the disk (`fdatasync(2)`) before it counts as done.
    pub fn set_durable(&mut self) -> Result<(), Error> {
        self.durable = true;
        self.instance.sync_directory()
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The state as of the newest finished transaction.
    pub fn cursors(&self) -> Result<Cursors, Error> {
        self.ledger.cursors()
    }

    /// Waits for the log's lock and does something under it.
    fn transact<T>(
        &mut self,
        action: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _lock = LogLock::wait(self.instance.log(), || self.ledger.want_lock())?;
        action(&mut Transaction::begin(
            &self.instance,
            &self.ledger,
            &mut self.renderer,
            self.durable,
        )?)
    }

    /// Accepts submissions: their lines are logged, and the balancer's doorbell rung.
    pub fn accept(&mut self, submissions: &[Submission]) -> Result<Accept, Error> {
        let accepted = self.transact(|transaction| transaction.accept(submissions))?;
        if matches!(accepted, Accept::Accepted(1..)) {
            self.ledger.doorbell().ring();
        }
        Ok(accepted)
    }

    /// Which lines are ready to be written. Without the lock, so the answer may be old; but what was
    /// ready before the last holder of the lock let it go is never overlooked.
    pub fn ready(&self) -> Result<Ready, Error> {
        let at = self.cursors()?;
        let workers = at.workers();
        if at.all_logged() {
            let next = workers.filter(|_| at.closing == 1).and_then(|workers| {
                workers.ids().nth(usize::try_from(at.totals).unwrap_or(usize::MAX))
            });
            return Ok(match next {
                Some(worker) if self.ledger.is_finished(worker) => Ready::Total,
                _ => Ready::Nothing,
            });
        }
        let count = self.ledger.peek_count(at.head);
        let lines = |of: u64| {
            (of.saturating_sub(at.base).min(count)).saturating_sub(at.line % count.max(1))
        };
        Ok(if at.line < count {
            match lines(self.ledger.received()) {
                0 => Ready::Nothing,
                _ => Ready::Received,
            }
        } else {
            match lines(workers.map_or(0, |workers| self.ledger.executed_frontier(workers))) {
                0 => Ready::Nothing,
                lines => Ready::Executed(lines),
            }
        })
    }

    /// Writes one transaction of lines that are ready, if the lock is free.
    pub fn advance(&mut self) -> Result<Advance, Error> {
        if self.ready()? == Ready::Nothing {
            return Ok(Advance::Nothing);
        }
        let Some(lock) = LogLock::try_take(self.instance.log())? else { return Ok(Advance::Busy) };
        let mut transaction =
            Transaction::begin(&self.instance, &self.ledger, &mut self.renderer, self.durable)?;
        let before = transaction.at;
        transaction.append_ready()?;
        let after = transaction.at;
        let wrote_received = transaction.wrote_received;
        drop(lock);
        if self.ledger.is_lock_wanted() {
            thread::sleep(LEAVE_LOCK);
        }
        if wrote_received {
            // More may be forwarded.
            self.ledger.doorbell().ring();
        }
        if after.head != before.head {
            self.ledger.space().ring();
            if after.all_logged() && self.ledger.is_watched() {
                self.ledger.doorbell().ring();
            }
        }
        if after.totals != before.totals {
            self.ledger.doorbell().ring();
        }
        // Nothing although lines looked ready: another holder was quicker.
        Ok(if after == before { Advance::Nothing } else { Advance::Wrote })
    }

    /// Records that N workers share the session; refused when it began with another N.
    pub fn set_workers(&mut self, workers: Workers) -> Result<(), Error> {
        self.transact(|transaction| transaction.set_workers(workers))
    }

    /// Closes the session if `no_more` says so, under the lock: from then on submissions go to the
    /// next session. Returns false if another process holds the lock.
    pub fn try_close(
        &mut self,
        no_more: impl FnOnce(&Instance, &Cursors) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let Some(_lock) = LogLock::try_take(self.instance.log())? else { return Ok(false) };
        let mut transaction =
            Transaction::begin(&self.instance, &self.ledger, &mut self.renderer, self.durable)?;
        if transaction.at.closing == 0 && no_more(transaction.instance, &transaction.at)? {
            transaction.put(Cursors { closing: 1, ..transaction.at })?;
        }
        Ok(true)
    }

    /// Puts the whole log on the disk, also what processes wrote that are not durable.
    pub fn sync_if_durable(&self) -> Result<(), Error> {
        if self.durable { self.instance.log().sync_data().map_err(Error::Log) } else { Ok(()) }
    }

    /// Removes the session's IPC objects: after the totals, or when no session has begun and nobody
    /// else is there to begin one. Returns whether it did.
    pub fn remove_objects(&mut self) -> Result<bool, Error> {
        let removed = self.transact(|transaction| {
            let at = transaction.at;
            let unused = at.submissions == 0 && transaction.instance.is_alone()?;
            if !at.is_ended() && !unused {
                return Ok(false);
            }
            session::remove(transaction.instance, transaction.ledger, &at)?;
            Ok(true)
        })?;
        if removed {
            self.ledger.space().ring();
            self.ledger.stage().ring();
        }
        Ok(removed)
    }
}

/// The lock on the log, let go when dropped, also in a panic.
struct LogLock<'a>(&'a File);

impl<'a> LogLock<'a> {
    fn try_take(log: &'a File) -> Result<Option<Self>, Error> {
        loop {
            match log.try_lock() {
                Ok(()) => return Ok(Some(Self(log))),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(e)) => return Err(Error::Log(e)),
            }
        }
    }

    /// Waits for the lock, with growing pauses instead of in the kernel: so a holder that was
    /// stopped can be named, and signals are never slept over.
    fn wait(log: &'a File, ask_for_it: impl Fn()) -> Result<Self, Error> {
        const PAUSE_MAX: Duration = Duration::from_millis(1);
        const PATIENCE: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut pause = LEAVE_LOCK / 2;
        let mut told = false;
        loop {
            if let Some(lock) = Self::try_take(log)? {
                return Ok(lock);
            }
            ask_for_it();
            if !told && start.elapsed() > PATIENCE {
                told = true;
                eprintln!("waiting: {} has locked sistem.log", holder(log));
            }
            thread::sleep(pause);
            // Half of LEAVE_LOCK at first, so that it is not missed.
            if start.elapsed() > 100 * LEAVE_LOCK {
                pause = (2 * pause).min(PAUSE_MAX);
            }
        }
    }
}

impl Drop for LogLock<'_> {
    fn drop(&mut self) {
        // Fails only for a bad descriptor, which this is not; closing it unlocks anyway.
        let _ = self.0.unlock();
    }
}

/// Who holds the lock, as far as `/proc/locks` tells (`proc_locks(5)`).
fn holder(log: &File) -> String {
    let inode = log.metadata().map(|m| format!(":{} ", m.ino())).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    locks
        .lines()
        .filter(|line| line.contains("FLOCK") && line.contains(&inode))
        .find_map(|line| line.split_whitespace().nth(4))
        .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// One holding of the lock, in which any number of transactions may follow each other.
struct Transaction<'a> {
    instance: &'a Instance,
    ledger: &'a Ledger,
    renderer: &'a mut Renderer,
    durable: bool,
    at: Cursors,
    wrote_received: bool,
}

impl<'a> Transaction<'a> {
    /// Checks that log and ledger are the session's and agree, and redoes what is pending.
    fn begin(
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
        }
        // The next transaction begins with nothing: neither with what was redone, which is in the log
        // now, nor with what did not fit on a full disk.
        renderer.clear();
        let at = ledger.cursors()?;
        check_len(at.log_len, log_len)?;
        Ok(Self { instance, ledger, renderer, durable, at, wrote_received: false })
    }

    /// One transaction: the rendered bytes, and the cursors behind them.
    fn put(&mut self, next: Cursors) -> Result<(), Error> {
        let bytes = self.renderer.bytes();
        let next = Cursors { log_len: self.at.log_len + bytes.len() as u64, ..next };
        self.ledger.commit(&next);
        write(self.instance, self.ledger, bytes, self.durable, self.at.log_len)?;
        self.at = next;
        self.wrote_received |= self.renderer.wrote_received();
        self.renderer.clear();
        Ok(())
    }

    fn accept(&mut self, submissions: &[Submission]) -> Result<Accept, Error> {
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
            if tail - next.head > crate::layout::RING_LEN
                || self.renderer.bytes().len() >= TRANSACTION_LEN
            {
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

    fn append_ready(&mut self) -> Result<(), Error> {
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

    fn set_workers(&mut self, workers: Workers) -> Result<(), Error> {
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
            None if free => self.put(Cursors { workers: asked, ..self.at }),
            _ => Err(Error::OtherWorkers {
                session: beyond.map_or(self.at.workers as u32, WorkerId::get),
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
