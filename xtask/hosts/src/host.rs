//! A host: a directory, in which all its processes run, and so are found; its network, its disk, its server and its
//! balancer.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::grammar::LOG_NAME;
use common::grammar::line::Line;
use common::program::children;
use common::program::process_stat::ProcessStat;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disk::Disk;
use crate::failure::{Failure, until, when};
use crate::network::Network;
use crate::server::Addresses;

/// The name of a host's directory, its disk, begins so.
pub(crate) const DISK: &str = "host";
/// So much of what was added to a log is looked at: many times what is accepted while nothing is executed.
const LOOK_LEN: usize = 8 << 20;
/// How long killed processes may take to go.
const DYING: Duration = Duration::from_secs(10);
/// How long a program may take that was asked to end. Workers have 5 s for what they are doing.
const ENDING: Duration = Duration::from_secs(30);

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    /// From 1.
    pub(crate) number: u8,
    /// On its disk.
    pub(crate) dir: PathBuf,
    /// What its programs say, and what COMMAND writes down: not on its disk, which may be full.
    pub(crate) notes: PathBuf,
    pub(crate) addresses: Addresses,
    pub(crate) network: Option<Network>,
    pub(crate) disk: Option<Disk>,
    pub(crate) server: Option<Child>,
    pub(crate) balancer: Option<Child>,
    /// A balancer that has taken over another host's workers.
    pub(crate) helper: Option<Child>,
}

impl Host {
    /// Its copy of the log.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join(LOG_NAME)
    }

    /// How long that is.
    pub(crate) fn log_len(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |log| log.len())
    }

    /// Whether its log says after so many bytes that something was executed.
    pub(crate) fn logs_executed(&self, len: u64) -> bool {
        let Ok(log) = File::open(self.log()) else { return false };
        let mut bytes = vec![0; LOOK_LEN];
        let read = log.read_at(&mut bytes, len).unwrap_or(0);
        let mut lines = bytes[..read].split(|&byte| byte == b'\n').map(Line::parse_bytes);
        lines.any(|line| matches!(line, Some(Line::Executed { .. })))
    }

    /// The file of COMMAND.
    pub(crate) fn record(&self) -> PathBuf {
        self.notes.join("executed")
    }

    /// Where what a program of this host prints is written.
    pub(crate) fn notes(&self, program: &str) -> Result<File, Failure> {
        let path = self.notes.join(program);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.map_err(Failure::system(path.display().to_string()))
    }

    /// Starts a program here. What it says on stderr is kept.
    pub(crate) fn start(&self, name: &str, mut command: Command) -> Result<Child, Failure> {
        command.current_dir(&self.dir).process_group(0).stderr(self.notes(&format!("{name}.err"))?);
        let started = match &self.network {
            Some(network) => network.spawn(&mut command),
            None => command.spawn(),
        };
        started.map_err(Failure::system(name))
    }

    /// The same for one that nobody talks to.
    pub(crate) fn serve(&self, name: &str, mut command: Command) -> Result<Child, Failure> {
        command.stdin(Stdio::null()).stdout(self.notes(&format!("{name}.out"))?);
        self.start(name, command)
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<i32> {
        ::tests::processes(&self.dir)
    }

    /// Kills everything at once, as a power failure does.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        until(DYING, "the end of killed processes", || {
            let processes = self.processes();
            for &pid in &processes {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            Ok(when(processes.is_empty()))
        })?;
        for child in [self.server.take(), self.balancer.take(), self.helper.take()] {
            child.map_or(Ok(()), reap)?;
        }
        Ok(())
    }

    /// Kills what its balancer has started, and what that has started.
    pub(crate) fn kill_workers(&self) {
        let Some(balancer) = self.balancer.as_ref().map(Child::id) else { return };
        let parents: HashMap<i32, i32> = self
            .processes()
            .into_iter()
            .filter_map(|pid| Some((pid, ProcessStat::of(Pid::from_raw(pid))?.parent.as_raw())))
            .collect();
        for pid in descendants(balancer.cast_signed(), &parents) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The children of a process, theirs, and so on.
fn descendants(of: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let ancestors = |pid: &i32| std::iter::successors(parents.get(pid), |pid| parents.get(pid));
    parents.keys().copied().filter(|pid| ancestors(pid).any(|pid| *pid == of)).collect()
}

/// Sends a signal.
pub(crate) fn signal(child: Option<&Child>, signal: Signal) {
    if let Some(child) = child {
        // It is not waited for yet, so the number is its own.
        let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
    }
}

/// Kills a program alone: its children are left.
pub(crate) fn kill_alone(child: &mut Option<Child>) -> Result<(), Failure> {
    signal(child.as_ref(), Signal::SIGKILL);
    child.take().map_or(Ok(()), reap)
}

/// Asks a program to end, with this signal, and waits until it has.
pub(crate) fn end(what: &str, child: &mut Option<Child>, with: Signal) -> Result<(), Failure> {
    signal(child.as_ref(), with);
    let Some(running) = child else { return Ok(()) };
    until(ENDING, &format!("the end of {what}"), || {
        running.try_wait().map_err(Failure::system("waitpid"))
    })?;
    *child = None;
    Ok(())
}

/// Whether it runs. One that has ended is forgotten, and its exit status returned.
pub(crate) fn ended(child: &mut Option<Child>) -> Result<Option<String>, Failure> {
    let Some(running) = child else { return Ok(None) };
    let status = running.try_wait().map_err(Failure::system("waitpid"))?;
    Ok(status.map(|status| {
        *child = None;
        status.to_string()
    }))
}

fn reap(mut child: Child) -> Result<(), Failure> {
    child.wait().map(drop).map_err(Failure::system("waitpid"))
}

/// Kills everything that this process, or what it has started, has started.
pub(crate) fn kill_all() {
    let start = Instant::now();
    while children::signal_all_but(&[], Some(Signal::SIGKILL)) && start.elapsed() < DYING {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a directory.
pub(crate) fn directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(Failure::system(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_children_and_theirs_and_nobody_else() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)]);
        let mut found = descendants(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
    }
}
