//! The ledger's ring: accepted submissions, from the commit on until the last line of their record is logged.
//!
//! ```text
//! offset  bytes  a record
//!      0      4  submissions  how many it holds
//!      4      4  texts_len    bytes of their texts together
//!      8      8  sum          of the record's place and all the rest of it
//!     16      8  of each submission: its count (4), and bytes of its text (4)
//!      …         their texts, one after the other, then zeros up to a multiple of 8
//! ```
//!
//! What a record means is in [`crate::ledger::record`]. Its orderings are checked by `tests/models`, as those of
//! `steps.rs`.

use super::checksum;
use super::sync::{AtomicU64, Ordering, fence};

/// Bytes of the ledger's ring.
pub const RING_LEN: u64 = 1 << 20;

/// Words of a record before its body.
const HEAD_WORDS: u64 = 2;

/// What follows, in words.
pub(crate) type Body = Vec<[u8; 8]>;

/// Positions are counted on, and wrapped by a remainder: `WORDS` is a power of two.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Ring<const WORDS: usize>(pub(crate) [AtomicU64; WORDS]);

impl<const WORDS: usize> Ring<WORDS> {
    fn word(&self, at: u64) -> &AtomicU64 {
        &self.0[(at / 8) as usize % WORDS]
    }

    /// Writes a record at `at`, where it is invisible until the tail moves over it. Under the log's lock.
    pub(crate) fn write(&self, at: u64, submissions: u32, texts_len: u32, body: &[[u8; 8]]) {
        // Who reads any of this must also see that the place was free: that the head has moved over what
        // was there, perhaps by another process.
        fence(Ordering::Release);
        let numbers = u64::from(submissions) | u64::from(texts_len) << 32;
        self.word(at).store(numbers, Ordering::Relaxed);
        self.word(at + 8).store(sum(at, numbers, body), Ordering::Relaxed);
        for (i, &word) in (HEAD_WORDS..).zip(body) {
            self.word(at + 8 * i).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    /// The count of one of the submissions of the record at `at`, unchecked.
    pub(crate) fn peek_count(&self, at: u64, index: u64) -> u32 {
        let place = HEAD_WORDS.wrapping_add(index).wrapping_mul(8);
        self.word(at.wrapping_add(place)).load(Ordering::Relaxed) as u32
    }

    /// Copies the record at `at` out, if it takes no more than so many bytes: how many submissions it holds, the
    /// bytes of their texts, and its body; nothing if what is there was not written as this record. Whether it is one
    /// of ours is shown by the cursors, which are looked at after it.
    pub(crate) fn read(&self, at: u64, len_max: u64, body: &mut Body) -> Option<(u32, u32)> {
        let numbers = self.word(at).load(Ordering::Relaxed);
        let alleged = self.word(at + 8).load(Ordering::Relaxed);
        let (submissions, texts_len) = (numbers as u32, (numbers >> 32) as u32);
        let len = record_len(submissions as usize, texts_len as usize);
        if len > len_max {
            return None;
        }
        let words = (HEAD_WORDS..len / 8).map(|i| self.word(at + 8 * i).load(Ordering::Relaxed));
        body.clear();
        body.extend(words.map(u64::to_le_bytes));
        (sum(at, numbers, body) == alleged).then_some((submissions, texts_len))
    }
}

/// Bytes of ring that a record of so many submissions takes, whose texts have so many bytes.
#[must_use]
pub(crate) const fn record_len(submissions: usize, texts_len: usize) -> u64 {
    8 * (HEAD_WORDS + submissions as u64) + texts_len.next_multiple_of(8) as u64
}

fn sum(at: u64, numbers: u64, body: &[[u8; 8]]) -> u64 {
    checksum::of([at, numbers, checksum::of_many(body)])
}
