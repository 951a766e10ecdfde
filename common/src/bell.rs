//! Sleeping on a word of the ledger, and waking who sleeps there: `futex(2)`, shared between processes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::Error;
use crate::fence::futex;
use crate::layout::Bell;

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
