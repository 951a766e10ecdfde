//! The ledger: the truth about a session, in shared memory. Which submissions were accepted, how far
//! each step has come, and whether a transaction is pending.
//!
//! A ledger is made by the client that submits the first submission, under the log's lock, and its first
//! transaction is committed by the magic word. So one that is published holds a submission, and one that
//! is not, seen under the lock, has a dead maker.
//!
//! `committed != finished` (`steps.rs`) means that a holder of the log's lock died in between. The
//! bytes are those that lead from the one slot's cursors to the other's, so the next holder renders them
//! again and appends what is missing. All values are absolute: this may be repeated through any number of
//! further deaths.

pub mod bell;
pub mod cell;
pub(crate) mod checksum;
pub mod cursors;
pub mod layout;
pub mod record;
pub mod ring;
mod steps;
mod sync;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::fence::shared_memory;
use crate::grammar::rotation::{WorkerId, Workers};

use bell::Bell;
use cell::Cell;
use cursors::{Cursors, State};
use layout::MAGIC;
use record::Record;
use sync::Ordering;

/// Which directory and which log a ledger belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device, inode and birth time of the directory: an inode number alone is used again.
    pub directory: [u64; 3],
    /// The same of `sistem.log`.
    pub log: [u64; 3],
}

/// An attached ledger: a segment of which the caller has checked owner and mode.
pub use crate::fence::shared_memory::Segment as Ledger;

impl Ledger {
    /// What to say of bytes in it that none of ours writes.
    #[must_use]
    pub fn damaged(&self, why: &'static str) -> Error {
        Error::Damaged { segment: self.segment_id(), why }
    }

    /// Whether the segment was removed, and lives on only until all have detached it.
    pub fn is_removed(&self) -> Result<bool, Error> {
        let object = format_args!("ledger (segment {})", self.segment_id());
        shared_memory::is_removed(self.segment_id()).map_err(Error::ipc(object, "shmctl"))
    }

    /// The magic word: 0 until published, [`MAGIC`] from then on, in anything of ours.
    #[must_use]
    pub fn magic(&self) -> u64 {
        self.layout().magic.load(Ordering::Acquire)
    }

    /// Whether it was ever published: it holds a submission.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.magic() == MAGIC
    }

    /// Lays out a session in a new segment, which the kernel has filled with zeros. Nobody sees it before
    /// [`Ledger::publish`]. Under the log's lock.
    pub fn lay_out(&self, session: u64, identity: &Identity, path: &[u8], cursors: &Cursors) {
        let layout = self.layout();
        let Identity { directory: [d0, d1, d2], log: [l0, l1, l2] } = *identity;
        let header = [session, d0, d1, d2, l0, l1, l2];
        let words = header.into_iter().chain([checksum::of(header)]);
        for (word, value) in layout.header.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        let path_end = &path[path.len().saturating_sub(layout.path.len())..];
        for (byte, &value) in layout.path.iter().zip(path_end) {
            byte.store(value, Ordering::Relaxed);
        }
        for cell in &layout.cells {
            cell.wake_at.store(u64::MAX, Ordering::Relaxed);
            cell.queue.store(u32::MAX, Ordering::Relaxed);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        layout.begun_us.store(now.as_micros() as u64, Ordering::Relaxed);
        layout.steps.begin(&cursors.numbers());
    }

    /// Makes a ledger that is laid out valid: the magic word comes last.
    pub fn publish(&self) {
        self.layout().magic.store(MAGIC, Ordering::SeqCst);
    }

    /// Directory and log, which nobody changes after the ledger was laid out; nor the session, which is checked too.
    pub fn identity(&self) -> Result<Identity, Error> {
        let words = self.layout().header.each_ref().map(|word| word.load(Ordering::Relaxed));
        let [header @ .., sum] = words;
        if !self.is_published() || checksum::of(header) != sum {
            return Err(self.damaged("its header is not what was written"));
        }
        let [_session, d0, d1, d2, l0, l1, l2] = header;
        Ok(Identity { directory: [d0, d1, d2], log: [l0, l1, l2] })
    }

    /// The session's nonce.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.layout().header[0].load(Ordering::Relaxed)
    }

    /// When the session began, or was read back from the log, in µs since 1970. Nothing but people's curiosity
    /// depends on it.
    #[must_use]
    pub fn begun_us(&self) -> u64 {
        self.layout().begun_us.load(Ordering::Relaxed)
    }

    /// The end of the directory's path when it was made.
    #[must_use]
    pub fn path_end(&self) -> String {
        let bytes = self.layout().path.each_ref().map(|byte| byte.load(Ordering::Relaxed));
        // It may begin inside of a character, and is filled up with zeros.
        String::from_utf8_lossy(&bytes).trim_matches(['\0', char::REPLACEMENT_CHARACTER]).to_owned()
    }

    fn state(&self, state: Result<State, &'static str>) -> Result<Cursors, Error> {
        state.and_then(Cursors::from_numbers).map_err(|why| self.damaged(why))
    }

    /// The cursors as of the newest finished transaction, for anyone, at any time.
    pub fn cursors(&self) -> Result<Cursors, Error> {
        self.state(self.layout().steps.newest())
    }

    /// What a dead holder of the log's lock committed and did not finish: from where to where. Under
    /// the log's lock.
    pub fn pending(&self) -> Result<Option<(Cursors, Cursors)>, Error> {
        let pending = self.layout().steps.pending().map_err(|why| self.damaged(why))?;
        pending.map(|(from, to)| Ok((self.state(Ok(from))?, self.state(Ok(to))?))).transpose()
    }

    /// The state once what is pending has been redone. Under the log's lock.
    pub fn committed(&self) -> Result<Cursors, Error> {
        self.pending()?.map_or_else(|| self.cursors(), |(_, to)| Ok(to))
    }

    /// Whether a transaction is committed and not finished; see `Steps::is_pending`.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.layout().steps.is_pending()
    }

    /// Describes the next transaction and commits it. Under the log's lock, with none pending.
    pub fn commit(&self, next: &Cursors) {
        self.layout().steps.commit(&next.numbers());
        if !self.is_published() {
            self.publish(); // the commit point of the first one
        }
    }

    /// Marks the committed transaction as entirely in the log. Under the log's lock.
    pub fn finish(&self) {
        self.layout().steps.finish();
    }

    /// Takes the committed transaction back: it never happened. Under the log's lock.
    pub fn withdraw(&self) {
        self.layout().steps.withdraw();
    }

    /// Writes a record into the ring at `at`, where it is invisible until the tail moves over it. Under the log's
    /// lock.
    pub fn write_record(&self, at: u64, record: &mut Record) {
        record.write(&self.layout().ring, at);
    }

    /// The count of one of the submissions of the record at `at`, unchecked: what follows from it must not be waited
    /// for.
    #[must_use]
    pub fn peek_count(&self, at: u64, index: u64) -> u64 {
        self.layout().ring.peek_count(at, index).into()
    }

    /// Copies the record at `at` out, and checks it like input.
    pub fn read_record(&self, at: u64, record: &mut Record) -> Result<(), Error> {
        record.read(&self.layout().ring, at).map_err(|why| self.damaged(why))
    }

    /// A worker's cell.
    #[must_use]
    pub fn cell(&self, worker: WorkerId) -> &Cell {
        &self.layout().cells[worker.index()]
    }

    /// The session's first message that is not executed: the rotation is complete up to there.
    #[must_use]
    pub fn executed_frontier(&self, workers: Workers) -> u64 {
        workers.ids().map(|k| workers.message_of(k, self.cell(k).executed())).min().unwrap_or(0)
    }

    /// Whether the totals are due, and every worker is ready for its own. They are written together: some of
    /// them look like those of a session that had no more workers, and after a reboot the log is all there is.
    #[must_use]
    pub fn are_totals_ready(&self, at: &Cursors) -> bool {
        at.all_logged()
            && at.is_closing()
            && at.totals < at.workers
            && at.workers().is_some_and(|n| n.ids().all(|worker| self.cell(worker).is_done()))
    }

    /// Messages that the balancer has taken.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.layout().received.load(Ordering::Acquire)
    }

    /// Sets it: the balancer only.
    pub fn set_received(&self, messages: u64) {
        self.layout().received.store(messages, Ordering::Release);
    }

    /// Whether the balancer wants to be woken when all accepted messages are logged.
    pub fn set_watched(&self, watched: bool) {
        self.layout().watched.store(watched.into(), Ordering::SeqCst);
    }

    /// Whether it does.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.layout().watched.load(Ordering::SeqCst) == 1
    }

    /// Asks whoever writes one transaction after the other to leave the lock to others. Returns whether it was asked
    /// before.
    #[must_use]
    pub fn ask_for_lock(&self) -> bool {
        let before = self.is_lock_wanted();
        if !before {
            self.layout().wanted.store(1, Ordering::Relaxed);
        }
        before
    }

    /// Asks no more.
    pub fn stop_asking(&self) {
        if self.is_lock_wanted() {
            self.layout().wanted.store(0, Ordering::Relaxed);
        }
    }

    /// Whether somebody asks.
    #[must_use]
    pub fn is_lock_wanted(&self) -> bool {
        self.layout().wanted.load(Ordering::Relaxed) == 1
    }

    /// Whether a dead letter is being submitted anew: under the log's lock, by whoever has it, or by a dead one.
    #[must_use]
    pub fn is_retrying(&self) -> bool {
        self.layout().retrying.load(Ordering::SeqCst) != 0
    }

    /// Sets it. All bits, so that one that is changed does not hide it. Under the log's lock.
    pub fn set_retrying(&self, retrying: bool) {
        self.layout().retrying.store(if retrying { u64::MAX } else { 0 }, Ordering::SeqCst);
    }

    /// Where the balancer sleeps.
    #[must_use]
    pub fn doorbell(&self) -> &Bell {
        &self.layout().doorbell
    }

    /// Where clients sleep that submit, until it is their turn.
    #[must_use]
    pub fn space(&self) -> &Bell {
        &self.layout().space
    }

    /// Where processes sleep until submissions are logged, or the session has ended.
    #[must_use]
    pub fn logged(&self) -> &Bell {
        &self.layout().logged
    }
}
