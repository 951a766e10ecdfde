//! Which process has which role: the kernel tells of each process which locks its open files have
//! (`proc_pid_fdinfo(5)`). To ask all processes costs milliseconds, so what was found is remembered.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use common::process_stat::ProcessStat;
use common::role::{self, Present};
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
    /// Who has the roles.
    by_role: HashMap<u32, Pid>,
    /// When all were asked, and for which roles.
    asked: Option<(Instant, Vec<u32>)>,
}

impl Processes {
    /// Finds out who has the roles that somebody has.
    pub(super) fn find(&mut self, log: &File, present: &Present) {
        let Ok(log) = log.metadata() else { return };
        let balancer = present.balancer.map(|_| BALANCER);
        let roles: Vec<u32> =
            balancer.into_iter().chain(present.workers.iter().map(|worker| worker.get())).collect();
        let is_known =
            self.asked.as_ref().is_some_and(|(at, of)| *of == roles && at.elapsed() < TRUSTED_FOR);
        let is_gone = |pid: &Pid| ProcessStat::of(*pid).is_none_or(|stat| stat.is_dead());
        if is_known && !self.by_role.values().any(is_gone) {
            return;
        }
        self.by_role.clear();
        if !roles.is_empty() {
            let pids = fs::read_dir("/proc").into_iter().flatten();
            for pid in pids.filter_map(|pid| pid.ok()?.file_name().to_str()?.parse().ok()) {
                let has = roles_of(pid, log.ino());
                self.by_role.extend(has.into_iter().map(|role| (role, Pid::from_raw(pid))));
            }
        }
        self.asked = Some((Instant::now(), roles));
    }

    /// Who has a role that somebody has.
    pub(super) fn of_role(&self, role: u32) -> Process {
        let seen = || {
            let pid = *self.by_role.get(&role)?;
            let stat = ProcessStat::of(pid)?;
            let seen = seen(pid, &stat)?;
            Some(if stat.state == 'T' { Process::Stopped(seen) } else { Process::Running(seen) })
        };
        seen().unwrap_or(Process::Hidden)
    }
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

/// The roles that a process has in the log with this inode.
fn roles_of(pid: i32, inode: u64) -> Vec<u32> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    let roles = |text: String| {
        text.lines().filter_map(|line| role::of_lock(line, inode)).collect::<Vec<_>>()
    };
    texts.flat_map(roles).collect()
}
