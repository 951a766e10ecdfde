//! What is alive of an earlier attempt, as far as `/proc` shows it: of another life of this worker, which could not
//! end it. It is recognised by any of these:
//!
//! * the attempt's lock, which it has inherited, unless it has closed all descriptors;
//! * the attempt's name in its environment, which it has inherited, unless it was taken from it;
//! * a parent or a process group with one of these.
//!
//! Only while this worker or its load balancer lives, what has none of them is found, too: as a child that came here
//! ([`common::program::children`]).

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::error::Error;
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::program::process_stat::ProcessStat;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::{Pid, getpgrp, getpid};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::wait::wait_for;

/// What outlives SIGKILL for so long is not waited for here.
const UNDYING: Duration = Duration::from_secs(1);
/// The lines about locks are at the beginning of a `proc_pid_fdinfo(5)`.
const FDINFO_LEN: u64 = 4096;
/// No variable is longer (`execve(2)`).
const VARIABLE_LEN: u64 = 128 << 10;

/// What is being ended, by a handle: a number may be another process's by now.
struct Held {
    handle: OwnedFd,
    is_stopped: bool,
}

impl Held {
    fn new(pid: Pid) -> Option<Self> {
        let pid = rustix::process::Pid::from_raw(pid.as_raw())?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { handle, is_stopped: false })
    }

    fn signal(&self, signal: Signal) {
        // It fails only if it is dead.
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

/// Kills all of it that can be found. Returns whether there was any.
///
/// It is stopped first, until nothing is found that is not: what it forks between the look and its death would
/// have no parent then by which it could be found. A `fork(2)` is not begun while a signal is pending.
pub(crate) fn kill(
    instance: &Instance,
    attempt: (WorkerId, u64),
    mark: &str,
) -> Result<bool, Error> {
    let mut held: HashMap<Pid, Held> = HashMap::new();
    let (mut was_any, mut is_any_new) = (false, true);
    while is_any_new {
        is_any_new = false;
        let found = find(instance, attempt, mark)?;
        was_any |= !found.is_empty();
        // What is found a second time is what the handle is of.
        held.retain(|pid, _| found.contains(pid));
        for held in held.values_mut().filter(|held| !held.is_stopped) {
            held.signal(Signal::STOP);
            held.is_stopped = true;
            is_any_new = true;
        }
        let new = found.into_iter().filter(|pid| !held.contains_key(pid));
        let new: Vec<_> = new.filter_map(|pid| Some((pid, Held::new(pid)?))).collect();
        is_any_new |= !new.is_empty();
        held.extend(new);
    }
    for held in held.values() {
        held.signal(Signal::KILL);
    }
    // Dead, and not only about to be: one whose parent is dead already would not be found again.
    let killed = Instant::now();
    for held in held.values() {
        let handle = PollFd::new(held.handle.as_fd(), PollFlags::POLLIN);
        wait_for(&mut [handle], UNDYING.saturating_sub(killed.elapsed()))?;
    }
    Ok(was_any)
}

fn find(instance: &Instance, attempt: (WorkerId, u64), mark: &str) -> Result<HashSet<Pid>, Error> {
    let is_lock = instance.attempt_lock(attempt)?;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all = pids.map(Pid::from_raw).filter_map(|pid| Some((pid, ProcessStat::of(pid)?)));
    let all: HashMap<Pid, ProcessStat> = all.filter(|(_, process)| !process.is_dead()).collect();
    // This worker may itself have been started by what it looks for.
    let mut own = HashSet::from([getpid()]);
    let mut ancestor = getpid();
    while let Some(process) = all.get(&ancestor).filter(|process| own.insert(process.parent)) {
        ancestor = process.parent;
    }
    let has_any =
        |pid: &Pid| !own.contains(pid) && (has_lock(*pid, &is_lock) || has_mark(*pid, mark));
    let mut found: HashSet<Pid> = all.keys().copied().filter(has_any).collect();
    loop {
        let groups: HashSet<Pid> =
            found.iter().filter_map(|pid| Some(all.get(pid)?.group)).collect();
        let belongs = |(&pid, process): (&Pid, &ProcessStat)| {
            let in_group = groups.contains(&process.group) && process.group != getpgrp();
            let is_new = !own.contains(&pid) && !found.contains(&pid);
            (is_new && (in_group || found.contains(&process.parent))).then_some(pid)
        };
        let more: Vec<Pid> = all.iter().filter_map(belongs).collect();
        if more.is_empty() {
            return Ok(found);
        }
        found.extend(more);
    }
}

fn has_lock(pid: Pid, is_lock: impl Fn(&str) -> bool) -> bool {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    infos.map(|info| info.path()).any(|path: PathBuf| {
        let mut info = String::new();
        let read =
            File::open(path).and_then(|file| file.take(FDINFO_LEN).read_to_string(&mut info));
        read.is_ok() && info.lines().any(&is_lock)
    })
}

/// Whether a variable is in its environment, as it was when it was executed.
fn has_mark(pid: Pid, mark: &str) -> bool {
    let Ok(environment) = File::open(format!("/proc/{pid}/environ")) else { return false };
    let mut reader = BufReader::new(environment);
    let mut variable = Vec::new();
    loop {
        variable.clear();
        match reader.by_ref().take(VARIABLE_LEN).read_until(0, &mut variable) {
            Ok(0) | Err(_) => return false,
            Ok(_) if variable.strip_suffix(&[0]).unwrap_or(&variable) == mark.as_bytes() => {
                return true;
            }
            Ok(_) => {}
        }
    }
}
