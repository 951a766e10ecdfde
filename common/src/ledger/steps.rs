//! One store commits. The state before a transaction and the state after it are both there, in two slots that are written
//! in turn, so either is whole at any instant; two counters say how far the newest transaction has come. It is a seqlock
//! whose writers take turns under the log's lock. Its orderings are checked by `tests/models`.
//!
//! Transaction number n writes slot n mod 2:
//!
//! 1. write the new state into the slot that is not in use;
//! 2. `committed = n`: **the commit point**. From here on the transaction will be in the log, whoever dies;
//! 3. append the bytes to the log (not here);
//! 4. `finished = n`.
//!
//! A slot holds the number of its transaction and a sum of it all, so that a changed bit in it, or in one of
//! the counters, does not pass for another state.

use std::array;

use super::checksum;
use super::sync::{AtomicU64, Ordering, fence};

/// From which state to which one.
pub(crate) type Step<const NUMBERS: usize> = ([u64; NUMBERS], [u64; NUMBERS]);

/// See the diagram in [`crate::ledger::layout`]. A state is so many numbers.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Steps<const NUMBERS: usize> {
    pub(crate) committed: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) reserved: [AtomicU64; 6],
    /// A state each, its transaction's number and the sum; the rest is unused.
    pub(crate) slots: [[AtomicU64; 16]; 2],
}

impl<const NUMBERS: usize> Steps<NUMBERS> {
    /// Begins, all zeros, with a state that is in the log already. Before anybody else sees the ledger.
    pub(crate) fn begin(&self, state: &[u64; NUMBERS]) {
        self.store(0, state);
    }

    /// The state after the newest finished transaction, for anyone, at any time. It never includes a line
    /// that is not in the log. An error says what is wrong with it.
    pub(crate) fn newest(&self) -> Result<[u64; NUMBERS], &'static str> {
        // A slot is only written again after the *next* transaction finished, so a second look at the
        // counter shows whether what was read is whole.
        for _ in 0..1_000_000 {
            // SeqCst: after set_watched, whoever finishes the last transaction sees that, or this sees
            // the transaction. (An Acquire load may be done before an earlier store.)
            let number = self.finished.load(Ordering::SeqCst);
            let state = self.load(number);
            fence(Ordering::Acquire);
            if self.finished.load(Ordering::Relaxed) == number {
                return state;
            }
        }
        Err("its cursors never come to rest")
    }

    /// What a dead holder of the log's lock committed and did not finish: from where to where. Under the
    /// log's lock.
    pub(crate) fn pending(&self) -> Result<Option<Step<NUMBERS>>, &'static str> {
        let finished = self.finished.load(Ordering::Acquire);
        let committed = self.committed.load(Ordering::Acquire);
        match committed.wrapping_sub(finished) {
            0 => Ok(None),
            1 => Ok(Some((self.load(finished)?, self.load(committed)?))),
            _ => Err("its transaction counters contradict each other"),
        }
    }

    /// Whether a transaction is committed and not finished. Without the log's lock it may be over by now,
    /// and [`Self::pending`] may see one transaction's beginning beside another one's end.
    pub(crate) fn is_pending(&self) -> bool {
        let finished = self.finished.load(Ordering::Acquire);
        self.committed.load(Ordering::Acquire) != finished
    }

    /// Describes the next transaction and commits it. Under the log's lock, with none pending.
    pub(crate) fn commit(&self, next: &[u64; NUMBERS]) {
        let number = self.committed.load(Ordering::Relaxed).wrapping_add(1);
        // The slot's reader, if he sees any of what follows, must also see that the transaction before
        // this one finished, perhaps in another process. Without this fence he may take a torn slot.
        fence(Ordering::Release);
        self.store(number, next);
        self.committed.store(number, Ordering::SeqCst);
    }

    /// Marks the committed transaction as entirely in the log. Under the log's lock.
    pub(crate) fn finish(&self) {
        let number = self.committed.load(Ordering::Relaxed);
        self.finished.store(number, Ordering::SeqCst);
    }

    /// Takes the committed transaction back, after its bytes were: it never happened. Under the log's lock.
    pub(crate) fn withdraw(&self) {
        self.committed.store(self.finished.load(Ordering::Relaxed), Ordering::SeqCst);
    }

    fn slot(&self, number: u64) -> &[AtomicU64; 16] {
        &self.slots[usize::from(number % 2 == 1)]
    }

    fn store(&self, number: u64, state: &[u64; NUMBERS]) {
        let slot = self.slot(number);
        let words = state.iter().copied().chain([number, sum(state, number)]);
        for (word, value) in slot.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// The words are allegations: what we did not write as this transaction is refused.
    fn load(&self, number: u64) -> Result<[u64; NUMBERS], &'static str> {
        let slot = self.slot(number);
        let word = |i: usize| slot[i].load(Ordering::Relaxed);
        let state = array::from_fn(word);
        let (own_number, alleged) = (word(NUMBERS), word(NUMBERS + 1));
        let sound = own_number == number && alleged == sum(&state, number);
        if sound { Ok(state) } else { Err("its cursors contradict each other") }
    }
}

fn sum(state: &[u64], number: u64) -> u64 {
    checksum::of(state.iter().copied().chain([number]))
}
