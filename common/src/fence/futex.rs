//! Sleeping on a word in shared memory until another process changes it (`futex(2)`).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::thread::Timespec;
use rustix::thread::futex::{self, Flags};

/// Sleeps while `word` still holds `seen`: until a [`wake_all`], a signal, or the time limit. Which
/// of them it was is not said, since callers look at the state again anyway.
pub fn wait(word: &AtomicU32, seen: u32, limit: Duration) -> Result<()> {
    // What does not fit is for ever.
    let limit = Timespec::try_from(limit).ok();
    // Not PRIVATE: the waker is another process.
    match futex::wait(word, Flags::empty(), seen, limit.as_ref()) {
        Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        waited => waited,
    }
}

/// Wakes one process that sleeps on `word`. Returns whether there was one.
pub fn wake_one(word: &AtomicU32) -> bool {
    futex::wake(word, Flags::empty(), 1).is_ok_and(|woken| woken > 0)
}

/// Wakes every process that sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), i32::MAX.cast_unsigned()); // which fails for no word of ours
}
