//! The ledger's ring: accepted submissions, from the commit on until their last line is logged.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::checksum;
use crate::error::Error;
use crate::layout::RING_LEN;
use crate::ledger::Ledger;
use crate::submission::{Submission, TEXT_LEN_MAX};

impl Ledger {
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
