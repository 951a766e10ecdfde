//! Signals that ask a process to end, and the deaths of its children, turned into flags that its loop
//! looks at.
//!
//! A signal that lands between that look and the following wait would be slept over. So the handler
//! also sets a timer, whose SIGALRM interrupts the wait a moment later, again and again, until the flag
//! was taken.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering::SeqCst};

use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

/// Signals that come so soon after a request's first one belong to it: a terminal and a wrapper such as
/// npm both send one for the same Ctrl-C.
const ONE_REQUEST_MS: i64 = 500;
const REPEAT_AFTER_US: libc::suseconds_t = 10_000;

/// How often the process was asked to end, and by which signal and when last.
static REQUESTS: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
static LAST_MS: AtomicI64 = AtomicI64::new(-ONE_REQUEST_MS);
/// How many of these requests the loop has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);
/// So many abort.
static ABORT_AT: AtomicU32 = AtomicU32::new(u32::MAX);
/// The log is to be rotated.
static ROTATE: AtomicBool = AtomicBool::new(false);
/// A child has ended, or was stopped.
static CHILD: AtomicBool = AtomicBool::new(false);

extern "C" fn handle(signal: i32) {
    match signal {
        libc::SIGCHLD => CHILD.store(true, SeqCst),
        libc::SIGUSR1 => ROTATE.store(true, SeqCst),
        libc::SIGALRM | libc::SIGXFSZ => {}
        _ => {
            // Since some moment in the past, which is the same each time. Async-signal-safe (signal-safety(7)).
            let now = ClockId::CLOCK_MONOTONIC.now().map_or(0, |now| now.num_milliseconds());
            if now - LAST_MS.load(SeqCst) >= ONE_REQUEST_MS {
                LAST.store(signal, SeqCst);
                LAST_MS.store(now, SeqCst);
                REQUESTS.fetch_add(1, SeqCst);
            }
        }
    }
    let is_new = REQUESTS.load(SeqCst) != SEEN.load(SeqCst);
    if is_new || CHILD.load(SeqCst) || ROTATE.load(SeqCst) {
        let [zero, soon] = [0, REPEAT_AFTER_US].map(|tv_usec| libc::timeval { tv_sec: 0, tv_usec });
        let once = libc::itimerval { it_interval: zero, it_value: soon };
        // SAFETY: it reads `once` and writes nothing. As async-signal-safe as alarm(2): a bare system call.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const once, ptr::null_mut()) };
    }
}

fn set_action(signal: Signal, handler: SigHandler) -> Result<()> {
    // No SA_RESTART: waits are to return EINTR. And no handler interrupts another one.
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::all());
    // SAFETY: `handle`, if it is that, only uses atomics and async-signal-safe calls.
    unsafe { sigaction(signal, &action) }.map(drop)
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
/// writing beyond a file size limit return EFBIG instead of killing. Not by ignoring that signal, which what
/// this process starts would inherit.
pub fn start_clean() -> Result<()> {
    SigSet::empty().thread_set_mask()?;
    set_action(Signal::SIGCHLD, SigHandler::SigDfl)?;
    set_action(Signal::SIGXFSZ, SigHandler::Handler(handle))
}

/// From now on requests to end are counted: SIGINT, SIGTERM, SIGHUP (unless it is ignored, as nohup(1)
/// has it). The `abort_at`-th aborts the process; those before it ask it to come to an end.
pub fn watch(abort_at: u32) -> Result<()> {
    ABORT_AT.store(abort_at, SeqCst);
    // SIGALRM first: each of the others sets the timer.
    for signal in [Signal::SIGALRM, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if signal != Signal::SIGHUP || !is_ignored(signal)? {
            set_action(signal, SigHandler::Handler(handle))?;
        }
    }
    Ok(())
}

/// From now on the death of a child interrupts waits, until [`child_changed`] is asked. Needs [`watch`].
pub fn watch_children() -> Result<()> {
    set_action(Signal::SIGCHLD, SigHandler::Handler(handle))
}

/// From now on SIGUSR1 interrupts waits, until [`is_asked_to_rotate`] is asked. Needs [`watch`].
pub fn watch_rotate() -> Result<()> {
    set_action(Signal::SIGUSR1, SigHandler::Handler(handle))
}

/// Whether SIGUSR1 has come since the last look.
pub fn is_asked_to_rotate() -> bool {
    ROTATE.swap(false, SeqCst)
}

/// Whether the process was asked to end.
#[must_use]
pub fn is_asked_to_end() -> bool {
    requests() > 0
}

/// The last request's signal, once there were so many that the process is to be aborted.
pub fn aborted_by() -> Option<Signal> {
    let is_aborted = requests() >= ABORT_AT.load(SeqCst);
    is_aborted.then(|| Signal::try_from(LAST.load(SeqCst)).ok()).flatten()
}

fn requests() -> u32 {
    let requests = REQUESTS.load(SeqCst);
    // Asked for each line of a log that is read back: nothing but a load, as long as none came.
    if requests > 0 {
        SEEN.store(requests, SeqCst);
    }
    requests
}

/// Whether a child has ended, or was stopped, since the last look.
pub fn child_changed() -> bool {
    CHILD.swap(false, SeqCst)
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
            watch(2).is_ok()
                && watch_children().is_ok()
                && is_heeded(libc::SIGCHLD)
                && child_changed()
        };
        assert!(alone(test));
    }
}
