//! An instance's roles: taken, given back, and asked for.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::{Error, heed_signals};
use crate::grammar::rotation::{WorkerId, Workers};
use crate::program::advice;
use crate::program::pause::pause;

use super::Instance;
use super::log_file;
use super::role::{
    OUTPUT, Role, attempt_bytes, balancer_in, be_here, held, lock, lock_place, places, set,
};

/// How long a role is asked for: a child of a dead process holds its locks until it has exec'ed.
const ROLE_PATIENCE: Duration = Duration::from_secs(2);

impl Instance {
    /// Takes a role, until it is given back or this process ends. Refused where somebody uses the log from
    /// another IPC namespace or directory, whose objects cannot be found from here.
    ///
    /// A load balancer that has just renamed the log has its role there until it has it here, where it is about to go
    /// on. So that log is looked at, too.
    pub fn hold(&self, role: Role) -> Result<(), Error> {
        let before = log_file::last_set_aside(self.directory());
        if let Some(before) = &before {
            places(self.directory().id())?.iter().try_for_each(|it| it.refuse_others(before))?;
        }
        self.take(role, before.filter(|_| matches!(role, Role::Balancer(_))).as_ref())
    }

    /// Takes a role once nobody has it, nor in the log before.
    fn take(&self, role: Role, before: Option<&File>) -> Result<(), Error> {
        be_here(self.log(), self.directory().id())?;
        let start = Instant::now();
        let kind = if role == Role::Client { libc::F_RDLCK } else { libc::F_WRLCK };
        let is_free = || Ok::<_, Error>(before.map_or(Ok(None), balancer_in)?.is_none());
        while !(is_free()? && set(self.log(), kind, role.bytes())?) {
            if start.elapsed() > ROLE_PATIENCE {
                return Err(Error::RoleTaken(role.name()));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Gives a role back.
    pub fn release(&self, role: Role) -> Result<(), Error> {
        set(self.log(), libc::F_UNLCK, role.bytes()).map(drop)
    }

    /// Whether another process has the role.
    pub fn is_held_by_another(&self, role: Role) -> Result<bool, Error> {
        // A balancer of whatever N.
        Ok(held(self.log(), (role.bytes().0, 1))?.is_some())
    }

    /// A file that shows, as long as anybody has it open, that this attempt of worker k is not over.
    pub fn begin_attempt(&self, attempt: (WorkerId, u64)) -> Result<File, Error> {
        // Not the log's own description, whose locks are this process's roles; and nobody who has it can write.
        let log = File::open(format!("/proc/self/fd/{}", self.log().as_raw_fd()));
        let log = log.map_err(Error::Log)?;
        let set = set(&log, libc::F_RDLCK, attempt_bytes(attempt))?;
        if set {
            Ok(log)
        } else {
            Err(Error::RoleTaken("a program that locks all of sistem.log".to_owned()))
        }
    }

    /// Whether anybody has such a file open.
    pub fn is_attempted(&self, attempt: (WorkerId, u64)) -> Result<bool, Error> {
        Ok(held(self.log(), attempt_bytes(attempt))?.is_some())
    }

    /// Shows, by a line of `proc_pid_fdinfo(5)` that a process has it open.
    pub fn attempt_lock(&self, attempt: (WorkerId, u64)) -> Result<impl Fn(&str) -> bool, Error> {
        let place = attempt_bytes(attempt).0;
        let inode = self.log().metadata().map_err(Error::Log)?.ino();
        Ok(move |line: &str| lock_place(line, inode) == Some(place))
    }

    /// Waits until nobody else prints; from then on nobody does until [`Instance::end_output`].
    pub fn begin_output(&self) -> Result<(), Error> {
        loop {
            match fcntl(self.log(), FcntlArg::F_OFD_SETLKW(&lock(libc::F_WRLCK, OUTPUT))) {
                Err(Errno::EINTR) => heed_signals()?,
                set => return set.map(drop).map_err(|error| Error::Log(error.into())),
            }
        }
    }

    /// Lets others print.
    pub fn end_output(&self) -> Result<(), Error> {
        set(self.log(), libc::F_UNLCK, OUTPUT).map(drop)
    }

    /// N of the load balancer that is running, if another process is one.
    pub fn balancer_workers(&self) -> Result<Option<Workers>, Error> {
        let here = || balancer_in(self.log());
        let before =
            || log_file::last_set_aside(self.directory()).map_or(Ok(None), |log| balancer_in(&log));
        // One that has just renamed the log has its role there, until it has it here.
        Ok(match here()? {
            None => before()?.map_or_else(here, |found| Ok(Some(found)))?,
            found => found,
        })
    }

    /// What to say to whoever waits for a load balancer, if none is running; `workers`: its session's N, if that is
    /// given. Begins with `; `.
    pub fn no_balancer(&self, workers: Option<Workers>) -> Result<String, Error> {
        let is_there = self.balancer_workers()?.is_some();
        Ok(if is_there { String::new() } else { advice::no_balancer(workers) })
    }

    /// Opens the log again that now has the name, and takes the role there that this process has in the one before: so
    /// it has it all the while in one or the other.
    pub fn reopen_as(&mut self, role: Role) -> Result<(), Error> {
        let (log, log_id) = log_file::open(&self.directory)?;
        let _before = std::mem::replace(&mut self.log, log);
        self.log_id = log_id;
        self.take(role, None)
    }
}
