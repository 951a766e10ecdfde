//! Sleeping on a word in shared memory until another process changes it (`futex(2)`).

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;

/// Sleeps while `word` still holds `seen`: until a [`wake_all`], a signal, or the time limit. Which
/// of them it was is not told, since callers look at the state again anyway.
pub fn wait(word: &AtomicU32, seen: u32, limit: Duration) -> Result<()> {
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: the word outlives the call, the timespec too, and FUTEX_WAIT writes to neither. Not
    // FUTEX_PRIVATE: the waker is another process.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            seen,
            &raw const limit,
            ptr::null::<u32>(),
            0,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Wakes every process that sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    // SAFETY: the word outlives the call, and FUTEX_WAKE only uses its address.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}
