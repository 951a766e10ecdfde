//! Signals that ask a process to end, turned into a flag that its loop looks at.
//!
//! A signal that lands between that look and the following wait would be slept over. So the handler
//! also sets an `alarm(2)`, which interrupts the wait a second later, again and again, until the
//! flag was taken.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

/// How many signals asked to end, and which came last.
static REQUESTS: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
/// How many of them the loop has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);
/// So many abort.
static ABORT_AT: AtomicU32 = AtomicU32::new(u32::MAX);
/// A child has ended, or was stopped.
static CHILD: AtomicBool = AtomicBool::new(false);

extern "C" fn handle(signal: i32) {
    if matches!(signal, libc::SIGINT | libc::SIGTERM) {
        LAST.store(signal, Ordering::SeqCst);
        REQUESTS.fetch_add(1, Ordering::SeqCst);
    }
    if signal == libc::SIGCHLD {
        CHILD.store(true, Ordering::SeqCst);
    }
    if REQUESTS.load(Ordering::SeqCst) != SEEN.load(Ordering::SeqCst) {
        // SAFETY: alarm is async-signal-safe (signal-safety(7)) and touches no memory.
        unsafe { libc::alarm(1) };
    }
}

fn set_action(signal: Signal, action: libc::sighandler_t) -> Result<()> {
    // SAFETY: an all-zero sigaction is valid: no flags, an empty mask.
    let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    new.sa_sigaction = action;
    // SAFETY: `new` is a whole sigaction; its handler is SIG_IGN, SIG_DFL or `handle`, which only
    // uses atomics and alarm. No SA_RESTART: waits are to return EINTR.
    Errno::result(unsafe { libc::sigaction(signal as i32, &raw const new, ptr::null_mut()) })
        .map(drop)
}

/// Undoes what a parent may have left in this process: a signal mask, an ignored SIGCHLD; and has
/// writing beyond a file size limit return EFBIG instead of killing.
pub fn start_clean() -> Result<()> {
    SigSet::empty().thread_set_mask()?;
    set_action(Signal::SIGCHLD, libc::SIG_DFL)?;
    set_action(Signal::SIGXFSZ, libc::SIG_IGN)
}

/// From now on SIGINT and SIGTERM are counted, and SIGCHLD interrupts waits. The `abort_at`-th aborts
/// the process; those before it ask it to come to an end.
pub fn watch(abort_at: u32) -> Result<()> {
    ABORT_AT.store(abort_at, Ordering::SeqCst);
    let handler: extern "C" fn(i32) = handle;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGALRM] {
        set_action(signal, handler as *const () as libc::sighandler_t)?;
    }
    Ok(())
}

/// Whether the process was asked to end.
#[must_use]
pub fn is_asked_to_end() -> bool {
    requests() > 0
}

/// The last signal, once there were so many that the process is to be aborted.
pub fn aborted_by() -> Option<Signal> {
    if requests() < ABORT_AT.load(Ordering::SeqCst) {
        return None;
    }
    Signal::try_from(LAST.load(Ordering::SeqCst)).ok()
}

fn requests() -> u32 {
    let requests = REQUESTS.load(Ordering::SeqCst);
    // Asked for each line of a log that is read back: nothing but a load, as long as none came.
    if requests > 0 {
        SEEN.store(requests, Ordering::SeqCst);
    }
    requests
}

/// Whether a child has ended, or was stopped, since the last look.
pub fn child_changed() -> bool {
    CHILD.swap(false, Ordering::SeqCst)
}
