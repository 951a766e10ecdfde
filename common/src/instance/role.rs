//! Who is who in a directory, and which bytes of `sistem.log` say so.
//!
//! Roles are open file description locks (`fcntl(2)`) on bytes of `sistem.log` far beyond its end, so that
//! the kernel, not a pid, shows who is alive. Such locks reach into every namespace that shares the file,
//! while IPC objects do not. So who has a role also holds a lock that everybody may share, on a byte whose
//! *place* shows his IPC namespace and his directory: a lock at another place is somebody whose objects
//! cannot be found from here.
//!
//! ```text
//! from 2^62 on
//! + 0                  client        shared: there may be any number
//! + 1 … 256            worker k
//! + 512 … 512 + N - 1  balancer      its length is N
//! + 2^32 + inode of the IPC namespace    shared
//! + 2^33 + a sum of the directory        shared
//! + 768                output        whoever prints what a COMMAND has printed
//! + 2^60 + k * 2^48 + a sum of the message    an attempt of worker k, shared
//! ```
//!
//! The lock of an attempt belongs to a description of its own, which stays open in COMMAND and in what that
//! starts: so it shows whether any of them is alive, whoever was killed.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::Error;
use crate::grammar::rotation::{WORKERS_MAX, WorkerId, Workers};
use crate::ledger::checksum;

const BEHIND_ANY_LOG: i64 = 1 << 62;
const BALANCER: i64 = BEHIND_ANY_LOG + 512;
pub(super) const OUTPUT: (i64, i64) = (BEHIND_ANY_LOG + 768, 1);
const ATTEMPTS: i64 = BEHIND_ANY_LOG + (1 << 60);
const NAMESPACE: i64 = BEHIND_ANY_LOG + (1 << 32);
const DIRECTORY: i64 = BEHIND_ANY_LOG + (1 << 33);

/// What a process is in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The load balancer of N workers: one.
    Balancer(Workers),
    /// A client: any number, so the lock is shared.
    Client,
    /// Worker k: one for each k.
    Worker(WorkerId),
}

impl Role {
    pub(super) fn bytes(self) -> (i64, i64) {
        match self {
            Self::Balancer(workers) => (BALANCER, workers.get().into()),
            Self::Client => (BEHIND_ANY_LOG, 1),
            Self::Worker(worker) => (BEHIND_ANY_LOG + i64::from(worker.get()), 1),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Balancer(_) => "a load balancer".to_owned(),
            Self::Client => "a client".to_owned(),
            Self::Worker(worker) => format!("worker {worker}"),
        }
    }
}

/// N of the load balancer that has its role in this log.
pub fn balancer_in(log: &File) -> Result<Option<Workers>, Error> {
    Ok(held(log, (BALANCER, 1))?.and_then(|len| Workers::new(len).ok()))
}

/// Who is there, as anyone sees who has the log open, if only to read.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The load balancer, by its N.
    pub balancer: Option<Workers>,
    /// A client may submit more.
    pub is_fed: bool,
    /// Workers.
    pub workers: Vec<WorkerId>,
}

impl Present {
    /// Looks at all workers up to this number, and up to the load balancer's N. An error if somebody uses the log
    /// from where his objects cannot be found from here.
    pub fn of(log: &File, directory: [u64; 3], workers: u32) -> Result<Self, Error> {
        places(directory)?.iter().try_for_each(|place| place.refuse_others(log))?;
        let is_held = |role: Role| Ok::<_, Error>(held(log, (role.bytes().0, 1))?.is_some());
        let balancer = balancer_in(log)?;
        let most = workers.max(balancer.map_or(0, Workers::get));
        let mut present = Self { balancer, is_fed: is_held(Role::Client)?, workers: Vec::new() };
        for worker in WorkerId::all().take_while(|worker| worker.get() <= most) {
            if is_held(Role::Worker(worker))? {
                present.workers.push(worker);
            }
        }
        Ok(present)
    }
}

/// Who a process is, by a line of `proc_pid_fdinfo(5)` about a lock on the log with this inode: 0 for the load
/// balancer, or a worker's number.
#[must_use]
pub fn of_lock(line: &str, inode: u64) -> Option<u32> {
    let place = lock_place(line, inode)?;
    match place - BEHIND_ANY_LOG {
        k @ 1..=256 => u32::try_from(k).ok(),
        _ if place == BALANCER => Some(0),
        _ => None,
    }
}

/// Where a lock on the file with this inode begins, which such a line names.
pub(super) fn lock_place(line: &str, inode: u64) -> Option<i64> {
    // lock: 1: OFDLCK ADVISORY READ -1 MAJOR:MINOR:INODE START END
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["lock:", _, "OFDLCK", _, _, _, of, start, ..]
            if of.rsplit(':').next() == Some(&inode.to_string()) =>
        {
            start.parse().ok()
        }
        _ => None,
    }
}

pub(super) fn attempt_bytes((worker, message): (WorkerId, u64)) -> (i64, i64) {
    let sum = checksum::of([message]) >> 16; // 48 bits
    (ATTEMPTS + (i64::from(worker.get()) << 48) + sum.cast_signed(), 1)
}

/// Whether one of ours has a role, or something of an attempt is alive, whoever else has locked the log.
pub(crate) fn is_used(log: &File) -> Result<bool, Error> {
    let any = |region, len| Ok::<_, Error>(held(log, (region, len))? == Some(1));
    Ok(any(NAMESPACE, 1 << 32)? || any(ATTEMPTS, (i64::from(WORKERS_MAX) + 1) << 48)?)
}

/// Says from where this process uses the log, and refuses if somebody uses it from elsewhere.
pub(super) fn be_here(log: &File, directory: [u64; 3]) -> Result<(), Error> {
    for place in places(directory)? {
        let Place { region, at, .. } = place;
        if !set(log, libc::F_RDLCK, (region + at, 1))? {
            return Err(Error::RoleTaken("a program that locks all of sistem.log".to_owned()));
        }
        place.refuse_others(log)?;
    }
    Ok(())
}

/// What shows from where a log is used: which byte of a region is locked, and what to say of another one.
pub(super) struct Place {
    region: i64,
    at: i64,
    elsewhere: &'static str,
}

pub(super) fn places(directory: [u64; 3]) -> Result<[Place; 2], Error> {
    let namespace = std::fs::metadata("/proc/self/ns/ipc").map_err(Error::NoNamespace)?.ino();
    // All that fits; a lock of length 0 would have no end.
    let at = |number: u64| i64::from(number as u32).max(1);
    let elsewhere = "in another IPC namespace (ipc_namespaces(7))";
    let namespace = Place { region: NAMESPACE, at: at(namespace), elsewhere };
    let elsewhere = "through another directory";
    let directory = Place { region: DIRECTORY, at: at(checksum::of(directory)), elsewhere };
    Ok([namespace, directory])
}

impl Place {
    pub(super) fn refuse_others(&self, log: &File) -> Result<(), Error> {
        let &Self { region, at, elsewhere } = self;
        let behind = (region + at + 1, (1 << 32) - at);
        if held(log, (region, at))?.is_some() || held(log, behind)?.is_some() {
            return Err(Error::Elsewhere(elsewhere));
        }
        Ok(())
    }
}

/// Sets a lock; returns false if others' are in the way.
pub(super) fn set(log: &File, kind: i32, bytes: (i64, i64)) -> Result<bool, Error> {
    loop {
        match fcntl(log, FcntlArg::F_OFD_SETLK(&lock(kind, bytes))) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            set => return set.map(|_| true).map_err(|error| Error::Log(error.into())),
        }
    }
}

/// The length of a lock that another process has on one of these bytes.
pub(super) fn held(log: &File, bytes: (i64, i64)) -> Result<Option<i64>, Error> {
    let mut probe = lock(libc::F_WRLCK, bytes);
    fcntl(log, FcntlArg::F_OFD_GETLK(&mut probe)).map_err(|e| Error::Log(e.into()))?;
    Ok((i32::from(probe.l_type) != libc::F_UNLCK).then_some(probe.l_len))
}

pub(super) fn lock(kind: i32, (l_start, l_len): (i64, i64)) -> libc::flock {
    let (l_type, l_whence) = (kind as i16, libc::SEEK_SET as i16); // small constants
    libc::flock { l_type, l_whence, l_start, l_len, l_pid: 0 } // as OFD locks want it
}
