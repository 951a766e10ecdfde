//! COMMAND as processes: started with the lock of its attempt, watched, and ended with all that it has started.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use common::error::Error;
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::program::children;
use common::program::pause::pause;
use common::program::service_manager;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid};
use rustix::io::FdFlags;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::leftover;
use crate::wait::wait_for;

/// The longest sleep: within it, a removed ledger and a signal to this process is noticed.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How often a look is taken at what is being ended.
const DYING: Duration = Duration::from_millis(5);
/// What outlives SIGKILL for so long is reported.
const UNDYING: Duration = Duration::from_secs(1);
/// How often to start a COMMAND again for which the system has no room.
const START_AGAIN: Duration = Duration::from_millis(100);

/// What is looked at while COMMAND is waited for: an error ends it.
pub(crate) type Look<'a> = &'a mut dyn FnMut() -> Result<(), Error>;

/// Where COMMAND is to be started, and under which lock.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) instance: &'a Instance,
    /// The worker, and what distinguishes the attempts of a message from those of others.
    pub(crate) attempt: (WorkerId, u64),
}

/// A COMMAND that was started.
pub(crate) struct Running<'a> {
    place: Place<'a>,
    child: Child,
    handle: OwnedFd,
    /// Children that were there before: what an earlier message left, and was not ended for.
    earlier: Vec<Pid>,
}

impl Place<'_> {
    /// Ends what is left of earlier attempts. `mark`: a variable in the environment of all that another life of this
    /// worker may have left; without it there was none, as far as is known.
    pub(crate) fn clear(self, mark: Option<&str>, look: Look<'_>) -> Result<(), Error> {
        let (start, mut reported) = (Instant::now(), false);
        loop {
            let is_locked = self.instance.is_attempted(self.attempt)?;
            let was_any = (is_locked || mark.is_some())
                && leftover::kill(self.instance, self.attempt, mark.unwrap_or("="))?;
            if !is_locked && !was_any {
                return Ok(());
            }
            look()?;
            pause(DYING);
            if start.elapsed() > UNDYING && !std::mem::replace(&mut reported, true) {
                common::tell!(
                    "worker {}: waiting: something of an earlier attempt is alive and cannot be ended \
                     (`grep -l OFDLCK /proc/*/fdinfo/*` may find it)",
                    self.attempt.0
                );
            }
        }
    }
}

impl<'a> Running<'a> {
    /// Starts it in a process group of its own. What the system has no room for is tried again.
    pub(crate) fn start(
        place: Place<'a>,
        command: &mut Command,
        look: Look<'_>,
    ) -> Result<Self, Error> {
        children::reap_until(|_| false, |_| ());
        let earlier = if children::is_any() { children::all() } else { Vec::new() };
        let mut reported = false;
        let child = loop {
            let file = place.instance.begin_attempt(place.attempt)?;
            // Left open on purpose, in COMMAND and in all that it starts.
            rustix::io::fcntl_setfd(&file, FdFlags::empty()).map_err(Error::system("fcntl"))?;
            // What this worker blocks is not COMMAND's affair, which inherits it.
            let none = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK);
            let blocked = none.map_err(Error::system("sigprocmask"))?;
            let started = service_manager::keep_from(command).process_group(0).spawn();
            blocked.thread_set_mask().map_err(Error::system("sigprocmask"))?;
            let error = match started {
                Ok(child) => break child,
                Err(error) => error,
            };
            drop(file);
            let (worker, program) = (place.attempt.0, command.get_program().display().to_string());
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ETXTBSY => {
                    if !std::mem::replace(&mut reported, true) {
                        common::tell!(
                            "worker {worker}: cannot start {program}: {error}; trying again"
                        );
                    }
                    look()?;
                    pause(START_AGAIN);
                }
                _ => return Err(cannot_run(worker, &program, &error)),
            }
        };
        // Nobody else waits for it, so the number is its own.
        let pid = rustix::process::Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(Error::system("pidfd_open"))?;
        Ok(Self { place, child, handle, earlier })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn instance(&self) -> &'a Instance {
        self.place.instance
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Readable once it has ended.
    pub(crate) fn handle(&self) -> PollFd<'_> {
        PollFd::new(self.handle.as_fd(), PollFlags::POLLIN)
    }

    /// Waits until it has ended; returns false if that takes longer than allowed.
    pub(crate) fn wait(&self, until: Option<Instant>, look: Look<'_>) -> Result<bool, Error> {
        loop {
            let left = until.map_or(TICK, |until| until.saturating_duration_since(Instant::now()));
            if wait_for(&mut [self.handle()], left.min(TICK))? {
                return Ok(true);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            look()?;
        }
    }

    /// Whether one that has ended did so with exit code 0. It is not waited for yet.
    pub(crate) fn has_succeeded(&self) -> Result<bool, Error> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(self.pid()), look).map_err(Error::system("waitid"))?;
        Ok(status == WaitStatus::Exited(self.pid(), 0))
    }

    /// Reaps what has come here and ended.
    pub(crate) fn reap_others(&mut self) {
        let (own, earlier) = (self.pid(), &mut self.earlier);
        children::reap_until(|pid| pid == own, |pid| earlier.retain(|&other| other != pid));
    }

    /// Waits for one that has ended.
    pub(crate) fn reap(&mut self) -> Result<ExitStatus, Error> {
        self.child.wait().map_err(Error::system("waitpid"))
    }

    /// Whether anything that it started lives on. All that does has the attempt's lock, or has come here, or has
    /// an ancestor that does.
    pub(crate) fn left_something(&self) -> Result<bool, Error> {
        let came = children::is_any() && children::signal_all_but(&self.spared(), None);
        Ok(came || self.place.instance.is_attempted(self.place.attempt)?)
    }

    fn spared(&self) -> Vec<Pid> {
        self.earlier.iter().copied().chain([self.pid()]).collect()
    }

    /// Ends it, and all that it has started: asked first, and after so long killed. Returns how it ended itself.
    pub(crate) fn end(mut self, grace: Duration) -> Result<ExitStatus, Error> {
        let start = Instant::now();
        let mut killed = None;
        // It is not waited for before all are asked, so the group's number is its own.
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
        loop {
            let has_ended = self.has_ended()?;
            if has_ended && !self.left_something()? {
                return self.reap();
            }
            if start.elapsed() >= grace {
                self.signal(Signal::SIGKILL);
                // What has left the group, and is not orphaned yet.
                leftover::kill(self.place.instance, self.place.attempt, "=")?;
                let since = *killed.get_or_insert_with(|| (Instant::now(), false));
                if since.0.elapsed() > UNDYING && !since.1 {
                    killed = Some((since.0, true));
                    let (worker, pid) = (self.place.attempt.0, self.pid());
                    common::tell!(
                        "worker {worker}: waiting: process {pid} or what it started outlives SIGKILL"
                    );
                }
            }
            let left = grace.saturating_sub(start.elapsed());
            let nap = if killed.is_some() || left.is_zero() { DYING } else { DYING.min(left) };
            if has_ended {
                pause(nap);
            } else {
                wait_for(&mut [self.handle()], nap)?;
            }
        }
    }

    fn has_ended(&self) -> Result<bool, Error> {
        wait_for(&mut [self.handle()], Duration::ZERO)
    }

    /// To its group, and to what has left that and come here.
    fn signal(&self, signal: Signal) {
        let _ = killpg(self.pid(), signal);
        // It may have left that. Not in any case: many a program takes a second SIGTERM for impatience.
        if getpgid(Some(self.pid())) != Ok(self.pid()) {
            let _ = kill(self.pid(), signal);
        }
        children::signal_all_but(&self.spared(), Some(signal));
    }
}

/// COMMAND cannot be run: that consumes nothing.
pub(crate) fn cannot_run(worker: WorkerId, program: &str, why: &dyn Display) -> Error {
    Error::Worker { worker: worker.get(), why: format!("cannot run {program}: {why}") }
}
