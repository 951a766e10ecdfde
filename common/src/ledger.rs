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
use std::time::Duration;

use crate::checksum;
use crate::cursors::Cursors;
use crate::error::Error;
use crate::fence::futex;
use crate::fence::shared_memory::{self, Segment};
use crate::layout::{Bell, Cell, Layout, MAGIC, RING_LEN};
use crate::rotation::{WorkerId, Workers};
use crate::submission::{Submission, TEXT_LEN_MAX};

/// Which directory and which log a ledger belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device, inode and birth time of the directory: an inode number alone is used again.
    pub directory: [u64; 3],
    /// Device and inode of `sistem.log`.
    pub log: [u64; 2],
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

    fn layout(&self) -> &Layout {
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
        for (word, value) in layout.log.iter().zip(identity.log) {
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
    pub fn log(&self) -> [u64; 2] {
        self.layout().log.each_ref().map(|word| word.load(Ordering::Relaxed))
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

    /// Bytes of ring that a submission takes.
    #[must_use]
    pub fn record_len(submission: &Submission) -> u64 {
        8 + submission.text().len().next_multiple_of(8) as u64
    }

    fn ring(&self, at: u64) -> &AtomicU64 {
        &self.layout().ring[((at % RING_LEN) / 8) as usize]
    }

    /// Writes a submission into the ring at `at`, where it is invisible until the tail moves over
    /// it. Under the log's lock.
    pub fn write_submission(&self, at: u64, submission: &Submission) {
        let text = submission.text().as_bytes();
        self.ring(at).store(record_head(submission.count(), text), Ordering::Relaxed);
        for (i, word) in (1..).zip(text_words(text)) {
            self.ring(at + 8 * i).store(word, Ordering::Relaxed);
        }
    }

    /// The count of the submission at `at`; anything at all when there is none.
    #[must_use]
    pub fn peek_count(&self, at: u64) -> u64 {
        self.ring(at).load(Ordering::Relaxed) & u64::from(u32::MAX)
    }

    /// Copies the submission at `at` out, and checks it like input.
    pub fn read_submission(&self, at: u64) -> Result<Submission, Error> {
        let head = self.ring(at).load(Ordering::Relaxed);
        let (count, len) = (head as u32, usize::from((head >> 32) as u16));
        if len > TEXT_LEN_MAX {
            return Err(Error::Damaged("a submission in it is too long"));
        }
        let mut text = Vec::with_capacity(len.next_multiple_of(8));
        for i in 0..len.div_ceil(8) as u64 {
            let word = self.ring(at + 8 + 8 * i).load(Ordering::Relaxed);
            text.extend_from_slice(&word.to_ne_bytes());
        }
        text.truncate(len);
        // Whether it may have been overwritten is told by what is looked at after it.
        fence(Ordering::Acquire);
        if record_head(count, &text) != head {
            return Err(Error::Damaged("a submission in it is not what was accepted"));
        }
        Submission::new(&text, count)
            .map_err(|_| Error::Damaged("a submission in it breaks the rules for input"))
    }

    fn cell(&self, worker: WorkerId) -> &Cell {
        &self.layout().cells[worker.index()]
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

    /// Messages that a worker has executed.
    #[must_use]
    pub fn executed(&self, worker: WorkerId) -> u64 {
        // SeqCst: after set_wake_at, likewise.
        self.cell(worker).executed.load(Ordering::SeqCst)
    }

    /// Sets it: that worker only. From here on its lines are ready, whoever writes them.
    pub fn set_executed(&self, worker: WorkerId, messages: u64) {
        // SeqCst: it must be visible before this worker looks at wake_at, or tries the log's lock.
        self.cell(worker).executed.store(messages, Ordering::SeqCst);
    }

    /// The session's first message that is not executed: the rotation is complete up to there.
    #[must_use]
    pub fn executed_frontier(&self, workers: Workers) -> u64 {
        workers.ids().map(|k| workers.message_of(k, self.executed(k))).min().unwrap_or(0)
    }

    /// The life of a worker, and the life that its queue is for.
    #[must_use]
    pub fn generations(&self, worker: WorkerId) -> (u32, u32) {
        let cell = self.cell(worker);
        (cell.generation.load(Ordering::SeqCst), cell.queue_generation.load(Ordering::SeqCst))
    }

    /// Begins a new life of a worker, and returns it: that worker only.
    #[must_use]
    pub fn begin_generation(&self, worker: WorkerId) -> u32 {
        self.cell(worker).generation.fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }

    /// Gives a worker's life a queue: the balancer only.
    pub fn set_queue(&self, worker: WorkerId, generation: u32, queue: i32) {
        let cell = self.cell(worker);
        cell.queue.store(queue.cast_unsigned(), Ordering::SeqCst);
        cell.queue_generation.store(generation, Ordering::SeqCst);
    }

    /// A worker's queue.
    #[must_use]
    pub fn queue(&self, worker: WorkerId) -> i32 {
        self.cell(worker).queue.load(Ordering::SeqCst).cast_signed()
    }

    /// Whether a worker is ready for its total.
    #[must_use]
    pub fn is_finished(&self, worker: WorkerId) -> bool {
        self.cell(worker).finished.load(Ordering::Acquire) == 1
    }

    /// Makes a worker ready for its total: that worker, or the balancer for a dead one.
    pub fn set_finished(&self, worker: WorkerId) {
        self.cell(worker).finished.store(1, Ordering::Release);
    }

    /// The balancer wants to be woken when this worker has executed so many.
    pub fn set_wake_at(&self, worker: WorkerId, executed: u64) {
        self.cell(worker).wake_at.store(executed, Ordering::SeqCst);
    }

    /// Whether the balancer wants to be woken, now that a worker has executed so many.
    #[must_use]
    pub fn wants_wake(&self, worker: WorkerId, executed: u64) -> bool {
        executed >= self.cell(worker).wake_at.load(Ordering::SeqCst)
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

/// The first word of a submission in the ring: count, text length, and a sum of it all.
fn record_head(count: u32, text: &[u8]) -> u64 {
    let numbers = u64::from(count) | (text.len() as u64) << 32;
    let sum = checksum::of(std::iter::once(numbers).chain(text_words(text)));
    numbers | sum << 48
}

/// A text as words, the last one filled up with zeros.
fn text_words(text: &[u8]) -> impl Iterator<Item = u64> {
    text.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    })
}

impl Bell {
    /// The word to look at *before* looking for work, and to hand to [`Bell::sleep`] after.
    #[must_use]
    pub fn look(&self) -> u32 {
        self.word.load(Ordering::SeqCst)
    }

    /// Sleeps until the next ring after `seen` was looked at, a signal, or the time limit.
    pub fn sleep(&self, seen: u32, limit: Duration) -> Result<(), Error> {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let slept = futex::wait(&self.word, seen, limit);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        slept.map_err(Error::system("futex"))
    }

    /// Wakes whoever sleeps. Costs no system call when nobody does.
    pub fn ring(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            futex::wake_all(&self.word);
        }
    }
}
