//! The ledger: the truth about a session, in shared memory. Which submissions were accepted, how far
//! each step has come, and whether a transaction is pending.
//!
//! # Transactions
//!
//! The cursors stand twice. Transaction number n writes slot n mod 2, and two counters tell how far
//! it has come:
//!
//! 1. write the new cursors into the slot that is not in use;
//! 2. `committed = n`: **the commit point**. From here on the transaction will be in the log,
//!    whoever dies;
//! 3. append the bytes to the log;
//! 4. `finished = n`.
//!
//! `committed != finished` means that a holder of the log's lock died between 2 and 4. The bytes are
//! those that lead from the one slot's cursors to the other's, so the next holder renders them
//! again and appends what is missing. All values are absolute: this may be repeated through any
//! number of further deaths.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::cursors::Cursors;
use crate::error::Error;
use crate::fence::shared_memory::{self, Segment};
use crate::layout::{Bell, Layout, MAGIC};

/// Which directory and which log a ledger belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device, inode and birth time of the directory: an inode number alone is used again.
    pub directory: [u64; 3],
    /// The same of `sistem.log`.
    pub log: [u64; 3],
}

/// An attached ledger.
#[derive(Debug)]
pub struct Ledger {
    segment: Segment,
}

impl Ledger {
    /// Takes a segment that the caller has checked for owner, mode and size.
    #[must_use]
    pub fn new(segment: Segment) -> Self {
        Self { segment }
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.segment.layout()
    }

    /// The segment's id.
    #[must_use]
    pub fn segment_id(&self) -> i32 {
        self.segment.id()
    }

    /// Whether the segment was removed, and lives on only until all have detached it.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        !shared_memory::stat(self.segment_id()).is_ok_and(|stat| !stat.removed)
    }

    /// The magic word: 0 until initialised, [`MAGIC`] from then on, in anything of ours.
    #[must_use]
    pub fn magic(&self) -> u64 {
        self.layout().magic.load(Ordering::Acquire)
    }

    /// Lays out a session, which nobody sees before [`Ledger::publish`]. Under the log's lock.
    pub fn lay_out(&self, session: u64, identity: &Identity, cursors: &Cursors) {
        let layout = self.layout();
        layout.magic.store(0, Ordering::SeqCst);
        layout.session.store(session, Ordering::Relaxed);
        for (word, value) in layout.directory.iter().zip(identity.directory) {
            word.store(value, Ordering::Relaxed);
        }
        let log = layout.log.iter().chain([&layout.log_born]);
        for (word, value) in log.zip(identity.log) {
            word.store(value, Ordering::Relaxed);
        }
        layout.received.store(0, Ordering::Relaxed);
        layout.watched.store(0, Ordering::Relaxed);
        layout.wanted.store(0, Ordering::Relaxed);
        for cell in &layout.cells {
            cell.executed.store(0, Ordering::Relaxed);
            cell.generation.store(0, Ordering::Relaxed);
            cell.queue_generation.store(0, Ordering::Relaxed);
            cell.queue.store(u32::MAX, Ordering::Relaxed);
            cell.finished.store(0, Ordering::Relaxed);
            cell.wake_at.store(u64::MAX, Ordering::Relaxed);
        }
        self.store_slot(0, cursors);
        layout.finished.store(0, Ordering::Relaxed);
        layout.committed.store(0, Ordering::Relaxed);
    }

    /// Makes a ledger that is laid out valid: the magic word comes last.
    pub fn publish(&self) {
        self.layout().magic.store(MAGIC, Ordering::SeqCst);
    }

    /// The directory that it says it belongs to.
    #[must_use]
    pub fn directory(&self) -> [u64; 3] {
        self.layout().directory.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// The log that it says it belongs to.
    #[must_use]
    pub fn log(&self) -> [u64; 3] {
        let Layout { log: [device, inode], log_born, .. } = self.layout();
        [device, inode, log_born].map(|word| word.load(Ordering::Relaxed))
    }

    /// The session's nonce.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.layout().session.load(Ordering::Relaxed)
    }

    fn slot(&self, number: u64) -> &[AtomicU64; 16] {
        &self.layout().cursors[usize::from(number % 2 == 1)].0
    }

    fn store_slot(&self, number: u64, cursors: &Cursors) {
        for (word, value) in self.slot(number).iter().zip(cursors.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn load_slot(&self, number: u64) -> [u64; Cursors::WORDS] {
        let slot = self.slot(number);
        std::array::from_fn(|i| slot[i].load(Ordering::Relaxed))
    }

    /// The cursors as of the newest finished transaction, for anyone, at any time. They never tell of
    /// a line that is not in the log.
    pub fn cursors(&self) -> Result<Cursors, Error> {
        // A slot is only written again after the *next* transaction finished, so a second look at
        // the counter tells whether what was read is whole.
        for _ in 0..1_000_000 {
            // SeqCst: after set_watched, whoever finishes the last transaction sees that, or this sees
            // the transaction. (An Acquire load may be done before an earlier store.)
            let number = self.layout().finished.load(Ordering::SeqCst);
            let words = self.load_slot(number);
            fence(Ordering::Acquire);
            if self.layout().finished.load(Ordering::Relaxed) == number {
                return Cursors::from_words(words);
            }
        }
        Err(Error::Damaged("its cursors never come to rest"))
    }

    /// What a dead holder of the log's lock committed and did not finish: from where to where. Under
    /// the log's lock.
    pub fn pending(&self) -> Result<Option<(Cursors, Cursors)>, Error> {
        let finished = self.layout().finished.load(Ordering::Acquire);
        let committed = self.layout().committed.load(Ordering::Acquire);
        if committed == finished {
            return Ok(None);
        }
        if committed != finished.wrapping_add(1) {
            return Err(Error::Damaged("its transaction counters contradict each other"));
        }
        let from = Cursors::from_words(self.load_slot(finished))?;
        let to = Cursors::from_words(self.load_slot(committed))?;
        Ok(Some((from, to)))
    }

    /// Whether a transaction is committed and not finished. Without the log's lock it may be over by
    /// now, and [`Self::pending`] may see one transaction's beginning beside another one's end.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let finished = self.layout().finished.load(Ordering::Acquire);
        self.layout().committed.load(Ordering::Acquire) != finished
    }

    /// Describes the next transaction and commits it. Under the log's lock, with none pending.
    pub fn commit(&self, next: &Cursors) {
        let number = self.layout().committed.load(Ordering::Relaxed).wrapping_add(1);
        self.store_slot(number, next);
        self.layout().committed.store(number, Ordering::SeqCst);
    }

    /// Marks the committed transaction as entirely in the log. Under the log's lock.
    pub fn finish(&self) {
        let number = self.layout().committed.load(Ordering::Relaxed);
        self.layout().finished.store(number, Ordering::Release);
        // Release alone would let the next description move above this store.
        fence(Ordering::SeqCst);
    }

    /// Takes the committed transaction back, after its bytes were: it never happened. Under the log's
    /// lock.
    pub fn withdraw(&self) {
        let number = self.layout().finished.load(Ordering::Relaxed);
        self.layout().committed.store(number, Ordering::SeqCst);
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

    /// Asks whoever writes one transaction after the other to leave the lock for a moment.
    pub fn want_lock(&self) {
        self.layout().wanted.store(1, Ordering::Relaxed);
    }

    /// Whether somebody asked since the last look. A dead one costs one moment, no more.
    #[must_use]
    pub fn is_lock_wanted(&self) -> bool {
        let wanted = &self.layout().wanted;
        wanted.load(Ordering::Relaxed) == 1 && wanted.swap(0, Ordering::Relaxed) == 1
    }

    /// Where the balancer sleeps.
    #[must_use]
    pub fn doorbell(&self) -> &Bell {
        &self.layout().doorbell
    }

    /// Where clients sleep while the ring is full or the session is closing.
    #[must_use]
    pub fn space(&self) -> &Bell {
        &self.layout().space
    }

    /// Where workers sleep until they have a queue.
    #[must_use]
    pub fn stage(&self) -> &Bell {
        &self.layout().stage
    }
}
