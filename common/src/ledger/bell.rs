//! Sleeping on a word of the ledger, and waking who sleeps there: `futex(2)`, shared between processes. Its
//! orderings are checked by `tests/models`.

use std::io;
use std::time::Duration;

use crate::fence::futex;

use super::sync::{AtomicU32, Ordering};

/// A word that processes sleep on, and whether one does.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Bell {
    pub(crate) word: AtomicU32,
    /// 1: somebody may sleep. A flag, which the next ring takes down, and no count: whoever is killed in
    /// his sleep could not count himself out.
    pub(crate) sleeping: AtomicU32,
}

impl Bell {
    /// The word to look at *before* looking for work, and to hand to [`Bell::sleep`] after.
    #[must_use]
    pub fn look(&self) -> u32 {
        self.word.load(Ordering::SeqCst)
    }

    /// Whether somebody may sleep.
    #[must_use]
    pub fn has_sleeper(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst) == 1
    }

    /// Sleeps until the next ring after `seen` was looked at, a signal, or the time limit.
    pub fn sleep(&self, seen: u32, limit: Duration) -> io::Result<()> {
        self.sleeping.store(1, Ordering::SeqCst);
        futex::wait(&self.word, seen, limit).map_err(io::Error::from)
    }

    /// Wakes whoever sleeps. Costs no system call when nobody does.
    pub fn ring(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        if self.has_sleeper() && self.sleeping.swap(0, Ordering::SeqCst) == 1 {
            // Once more: it may be the flag of somebody who has looked since, and does not sleep yet. With the
            // word that he has seen he would, and the next ring does not know of him.
            self.word.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(&self.word);
        }
    }

    /// Wakes one of those who sleep. Who has done what he was woken for rings for the next one, and finds the flag up.
    pub fn ring_for_one(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        if self.has_sleeper() && !futex::wake_one(&self.word) {
            // Nobody slept. That has to be said as in any ring, since somebody may meanwhile.
            self.ring();
        }
    }
}
