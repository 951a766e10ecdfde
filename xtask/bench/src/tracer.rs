//! Runs programs under ptrace: counts the system calls of each process, or only stops it at its end
//! to read how much memory it had at most.

use std::collections::HashMap;
use std::io;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::Options;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use tests::ptrace::{self, End, Event};
use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::Failure;
use super::job::Job;
use super::{judge, launch};

/// What was seen of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The program's name.
    pub(super) program: String,
    /// System calls since it became that program; 0 when they were not counted.
    pub(super) calls: u64,
    /// Most memory that was resident, in bytes (`VmHWM`).
    pub(super) peak_bytes: u64,
}

/// Runs a job under ptrace, and judges its log.
pub(super) fn run_job(
    case: &Case,
    binaries: &Binaries,
    count_calls: bool,
) -> Result<Vec<Seen>, Failure> {
    let sandbox = Sandbox::new(binaries);
    let job = Job::wrapped(&sandbox, *case, |command| ptrace::startable(&command))?;
    let seen = run(job.clients.into_iter().chain([job.balancer]), count_calls)?;
    judge::canonical(&sandbox.log_path(), case)?;
    Ok(seen)
}

/// Runs commands, all at once, to the end of all processes that come of them.
fn run(commands: impl Iterator<Item = Command>, count_calls: bool) -> Result<Vec<Seen>, Failure> {
    let mut tracees = Tracees { living: HashMap::new(), ended: Vec::new(), count_calls };
    for command in commands {
        tracees.start(command)?;
    }
    loop {
        match ptrace::next(None) {
            Ok((pid, event)) => tracees.handle(pid, event)?,
            Err(Errno::ECHILD) => return Ok(std::mem::take(&mut tracees.ended)),
            Err(error) => return Err(Failure::system("waitpid")(error)),
        }
    }
}

struct Tracees {
    living: HashMap<Pid, Seen>,
    ended: Vec<Seen>,
    count_calls: bool,
}

impl Tracees {
    fn start(&mut self, mut command: Command) -> Result<(), Failure> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let pid = ptrace::start(&mut command, ptrace::CHILDREN | Options::PTRACE_O_TRACEEXIT);
        let pid = pid.map_err(Failure::system("a traced program"))?;
        launch::watch(pid);
        self.handle(pid, Event::Exec)
    }

    fn handle(&mut self, pid: Pid, event: Event) -> Result<(), Failure> {
        let seen = self.living.entry(pid).or_default();
        match event {
            Event::Entry(_) => seen.calls += 1,
            Event::Exec => {
                *seen = Seen { program: launch::program(pid.as_raw()), ..Seen::default() };
            }
            Event::Exiting => seen.peak_bytes = tests::memory_peak(pid.as_raw()),
            Event::Ended(end) => {
                self.ended.extend(self.living.remove(&pid));
                launch::unwatch(pid);
                if end == End::Code(0) {
                    return Ok(());
                }
                let odd = io::Error::other(format!("{end:?}"));
                return Err(Failure::system("the end of a traced program")(odd));
            }
            _ => {}
        }
        let resumed = ptrace::resume(pid, self.count_calls, event.signal());
        resumed.map_err(Failure::system("ptrace"))
    }
}

impl Drop for Tracees {
    fn drop(&mut self) {
        for pid in self.living.keys() {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, Some(WaitPidFlag::__WALL));
            launch::unwatch(*pid);
        }
    }
}
