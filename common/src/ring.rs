//! The ledger's ring: accepted submissions, from the commit on until their last line is logged.
//!
//! ```text
//! offset  bytes  a record
//!      0      4  count
//!      4      4  text_len
//!      8      8  sum         of the record's place, the two numbers and the text
//!     16         text, then zeros up to a multiple of 8
//! ```
//!
//! Its orderings are checked by `tests/models`, as those of [`crate::steps`].

use crate::checksum;
use crate::sync::{AtomicU64, Ordering, fence};

/// Bytes of a record before its text.
const HEAD_LEN: u64 = 16;

/// Positions are counted on, and wrapped by a remainder: `WORDS` is a power of two.
#[repr(C)]
#[derive(Debug)]
pub struct Ring<const WORDS: usize>(pub(crate) [AtomicU64; WORDS]);

/// What a record may be; whether it is one of ours is told by what is looked at after it.
pub type Record = (u32, Vec<u8>);

impl<const WORDS: usize> Ring<WORDS> {
    fn word(&self, at: u64) -> &AtomicU64 {
        &self.0[(at / 8) as usize % WORDS]
    }

    /// Writes a record at `at`, where it is invisible until the tail moves over it. Under the log's lock.
    pub fn write(&self, at: u64, count: u32, text: &[u8]) {
        // Who reads any of this must also see that the place was free: that the head has moved over what
        // was there, perhaps by another process.
        fence(Ordering::Release);
        let numbers = u64::from(count) | (text.len() as u64) << 32;
        let words = [numbers, sum(at, numbers, text)].into_iter().chain(text_words(text));
        for (i, word) in (0..).zip(words) {
            self.word(at + 8 * i).store(word, Ordering::Relaxed);
        }
    }

    /// The count that stands at `at`, unchecked.
    pub fn peek_count(&self, at: u64) -> u32 {
        self.word(at).load(Ordering::Relaxed) as u32
    }

    /// Copies the record at `at` out; nothing if what is there was not written as this record.
    pub fn read(&self, at: u64, text_len_max: usize) -> Option<Record> {
        let numbers = self.word(at).load(Ordering::Relaxed);
        let alleged = self.word(at + 8).load(Ordering::Relaxed);
        let (count, len) = (numbers as u32, (numbers >> 32) as usize);
        if len > text_len_max {
            fence(Ordering::Acquire);
            return None;
        }
        let mut text = Vec::with_capacity(len.next_multiple_of(8));
        for i in 0..len.div_ceil(8) as u64 {
            let word = self.word(at + HEAD_LEN + 8 * i).load(Ordering::Relaxed);
            text.extend_from_slice(&word.to_ne_bytes());
        }
        text.truncate(len);
        // Whether it may have been overwritten is told by the cursors, which are looked at after it.
        fence(Ordering::Acquire);
        (sum(at, numbers, &text) == alleged).then_some((count, text))
    }
}

/// Bytes of ring that a record with such a text takes.
#[must_use]
pub const fn record_len(text_len: usize) -> u64 {
    HEAD_LEN + text_len.next_multiple_of(8) as u64
}

fn sum(at: u64, numbers: u64, text: &[u8]) -> u64 {
    checksum::of([at, numbers].into_iter().chain(text_words(text)))
}

/// A text as words, the last one filled up with zeros.
fn text_words(text: &[u8]) -> impl Iterator<Item = u64> {
    text.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    })
}
