//! Which process has which role: the kernel says of each process which locks its open files have
//! (`proc_pid_fdinfo(5)`). To ask all processes costs milliseconds, so what was found is remembered.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use common::instance::role::{self, Present};
use common::program::process_stat::ProcessStat;
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::{Process, Seen, ago};

/// The load balancer among those that have roles, as [`role::of_lock`] numbers them.
pub(super) const BALANCER: u32 = 0;
/// After so long all are asked again.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// Who has the roles, and when each was started: a number alone may be another process's by now.
    by_role: HashMap<u32, (Pid, u64)>,
    /// When all were asked, and for which roles in the logs of which inodes.
    asked: Option<(Instant, Vec<u64>, Vec<u32>)>,
}

impl Processes {
    /// Finds out who has the roles that somebody has.
    pub(super) fn find(&mut self, logs: &[&File], present: &Present) {
        let inodes = logs.iter().filter_map(|log| Some(log.metadata().ok()?.ino()));
        let inodes: Vec<u64> = inodes.collect();
        let balancer = present.balancer.map(|_| BALANCER);
        let roles: Vec<u32> =
            balancer.into_iter().chain(present.workers.iter().map(|worker| worker.get())).collect();
        let is_known = self.asked.as_ref().is_some_and(|(at, logs, of)| {
            (logs, of) == (&inodes, &roles) && at.elapsed() < TRUSTED_FOR
        });
        let is_gone = |it: &(Pid, u64)| stat_of(it).is_none();
        if is_known && !self.by_role.values().any(is_gone) {
            return;
        }
        self.by_role = if roles.is_empty() { HashMap::new() } else { ask_all(&inodes) };
        self.asked = Some((Instant::now(), inodes, roles));
    }

    /// Who has a role that somebody has.
    pub(super) fn of_role(&self, role: u32) -> Process {
        let seen = || {
            let it = self.by_role.get(&role)?;
            let stat = stat_of(it)?;
            let seen = seen(it.0, &stat)?;
            Some(if stat.state == 'T' { Process::Stopped(seen) } else { Process::Running(seen) })
        };
        seen().unwrap_or(Process::Hidden)
    }
}

/// Who has which role in the logs with these inodes.
fn ask_all(inodes: &[u64]) -> HashMap<u32, (Pid, u64)> {
    let pids = fs::read_dir("/proc").into_iter().flatten();
    let pids = pids.filter_map(|pid| pid.ok()?.file_name().to_str()?.parse().ok());
    let mut by_role: HashMap<u32, (Pid, u64)> = HashMap::new();
    for pid in pids.map(Pid::from_raw) {
        let Some(stat) = ProcessStat::of(pid) else { continue };
        for role in roles_of(pid, inodes) {
            // A child that is being started has its parent's files for a moment.
            let is_childs = by_role.get(&role).is_some_and(|(other, _)| *other == stat.parent);
            if !is_childs {
                by_role.insert(role, (pid, stat.started));
            }
        }
    }
    by_role
}

/// Nothing: it has ended.
fn stat_of(&(pid, started): &(Pid, u64)) -> Option<ProcessStat> {
    ProcessStat::of(pid).filter(|stat| stat.started == started && !stat.is_dead())
}

fn seen(pid: Pid, stat: &ProcessStat) -> Option<Seen> {
    let per_second =
        u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok().filter(|&it| it > 0)?;
    // Both clocks run on while the system is suspended.
    let [now, up] =
        [ClockId::CLOCK_REALTIME, ClockId::CLOCK_BOOTTIME].map(|clock| clock.now().ok());
    let age = Duration::from(up?)
        .saturating_sub(Duration::from_secs_f64(stat.started as f64 / per_second as f64));
    let (since, seconds) = ago(Duration::from(now?).saturating_sub(age));
    Some(Seen { pid: pid.as_raw(), since, seconds })
}

/// The roles that a process has in the logs with these inodes.
fn roles_of(pid: Pid, inodes: &[u64]) -> Vec<u32> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    let roles = |text: String| {
        let of = |line| inodes.iter().find_map(|&inode| role::of_lock(line, inode));
        text.lines().filter_map(of).collect::<Vec<_>>()
    };
    texts.flat_map(roles).collect()
}
