//! Signals that ask a process to end, and the deaths of its children, turned into flags that its loop
//! looks at.
//!
//! A signal that lands between that look and the following wait would be slept over. So the handler
//! also sets a timer, whose SIGALRM interrupts the wait a moment later, again and again, until the flag
//! was taken.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};

use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

/// Signals that come so soon after a request's first one belong to it: a terminal and a wrapper such as
/// npm both send one for the same Ctrl-C.
const ONE_REQUEST_MS: i64 = 500;
const REPEAT_AFTER_US: libc::suseconds_t = 10_000;

/// How often the process was asked to end, and by which signal and when last.
static REQUESTS: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
static LAST_MS: AtomicI64 = AtomicI64::new(0);
/// How many of these requests the loop has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);
/// So many abort.
static ABORT_AT: AtomicU32 = AtomicU32::new(u32::MAX);
/// The loop looks at the next one.
static CHILDREN_WATCHED: AtomicBool = AtomicBool::new(false);
/// A child has ended, or was stopped.
static CHILD: AtomicBool = AtomicBool::new(false);

extern "C" fn handle(signal: i32) {
    match signal {
        libc::SIGCHLD => CHILD.store(CHILDREN_WATCHED.load(Ordering::SeqCst), Ordering::SeqCst),
        libc::SIGALRM => {}
        _ => {
            let now = now_ms();
            if REQUESTS.load(Ordering::SeqCst) == 0
                || now - LAST_MS.load(Ordering::SeqCst) >= ONE_REQUEST_MS
            {
                LAST.store(signal, Ordering::SeqCst);
                LAST_MS.store(now, Ordering::SeqCst);
                REQUESTS.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    if REQUESTS.load(Ordering::SeqCst) != SEEN.load(Ordering::SeqCst)
        || CHILD.load(Ordering::SeqCst)
    {
        let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let soon = libc::timeval { tv_sec: 0, tv_usec: REPEAT_AFTER_US };
        let once = libc::itimerval { it_interval: zero, it_value: soon };
        // SAFETY: it reads `once` and writes nothing. As async-signal-safe as alarm(2): a bare system call.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const once, ptr::null_mut()) };
    }
}

/// Since some moment in the past, which is the same for all calls.
fn now_ms() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: async-signal-safe (signal-safety(7)); writes the timespec that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

fn set_action(signal: Signal, action: libc::sighandler_t) -> Result<()> {
    // SAFETY: an all-zero sigaction is valid: no flags, an empty mask.
    let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    new.sa_sigaction = action;
    // No handler interrupts another one.
    // SAFETY: writes the mask that it is given.
    unsafe { libc::sigfillset(&raw mut new.sa_mask) };
    // SAFETY: `new` is a whole sigaction; its handler is SIG_IGN, SIG_DFL or `handle`, which only uses
    // atomics and async-signal-safe calls. No SA_RESTART: waits are to return EINTR.
    Errno::result(unsafe { libc::sigaction(signal as i32, &raw const new, ptr::null_mut()) })
        .map(drop)
}

/// Whether a signal does nothing, as a parent may have left it.
pub fn is_ignored(signal: Signal) -> Result<bool> {
    // SAFETY: an all-zero sigaction is valid.
    let mut old: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: writes a whole sigaction, and sets none.
    Errno::result(unsafe { libc::sigaction(signal as i32, ptr::null(), &raw mut old) })?;
    Ok(old.sa_sigaction == libc::SIG_IGN)
}

/// Undoes what a parent may have left in this process: a signal mask, an ignored SIGCHLD; and has
/// writing beyond a file size limit return EFBIG instead of killing.
pub fn start_clean() -> Result<()> {
    SigSet::empty().thread_set_mask()?;
    set_action(Signal::SIGCHLD, libc::SIG_DFL)?;
    set_action(Signal::SIGXFSZ, libc::SIG_IGN)
}

/// From now on requests to end are counted: SIGINT, SIGTERM, SIGHUP (unless it is ignored, as nohup(1)
/// has it). The `abort_at`-th aborts the process; those before it ask it to come to an end. SIGCHLD
/// interrupts waits.
pub fn watch(abort_at: u32) -> Result<()> {
    use Signal::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGTERM};
    ABORT_AT.store(abort_at, Ordering::SeqCst);
    let handler: extern "C" fn(i32) = handle;
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGALRM] {
        if signal != SIGHUP || !is_ignored(SIGHUP)? {
            set_action(signal, handler as *const () as libc::sighandler_t)?;
        }
    }
    Ok(())
}

/// From now on [`child_changed`] is asked.
pub fn watch_children() {
    CHILDREN_WATCHED.store(true, Ordering::SeqCst);
}

/// Whether the process was asked to end.
#[must_use]
pub fn is_asked_to_end() -> bool {
    requests() > 0
}

/// The last request's signal, once there were so many that the process is to be aborted.
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fence::futex;

    const FOR_EVER: Duration = Duration::from_secs(30);

    /// Runs it in a process of its own, which has one thread, and so gets all signals there.
    fn alone(test: fn() -> bool) -> bool {
        // SAFETY: the child makes system calls only, and ends without unwinding.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(!test());
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) };
        }
        let child = nix::unistd::Pid::from_raw(child);
        let ended = nix::sys::wait::waitpid(child, None);
        ended == Ok(nix::sys::wait::WaitStatus::Exited(child, 0))
    }

    /// Whether a wait ends that begins after this signal was handled.
    fn is_heeded(signal: i32) -> bool {
        let begun = Instant::now();
        // SAFETY: sends a signal to this process.
        let raised = unsafe { libc::raise(signal) } == 0;
        let slept = futex::wait(&AtomicU32::new(0), 0, FOR_EVER);
        raised && slept.is_ok() && begun.elapsed() < FOR_EVER
    }

    /// It came between the look and the wait: the balancer slept for a second, a worker for ever.
    #[test]
    fn a_request_just_before_a_wait_was_slept_over() {
        let test = || watch(2).is_ok() && is_heeded(libc::SIGINT) && is_asked_to_end();
        assert!(alone(test));
    }

    #[test]
    fn a_death_just_before_a_wait_was_slept_over() {
        let test = || {
            watch_children();
            watch(2).is_ok() && is_heeded(libc::SIGCHLD) && child_changed()
        };
        assert!(alone(test));
    }
}
