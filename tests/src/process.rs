//! One running program of a sandbox.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::time::{Duration, Instant};

use common::program::process_stat::ProcessStat;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::temp_dir::unless_ending;

/// A program that was started; killed when dropped.
#[derive(Debug)]
pub struct Process {
    pub(crate) name: String,
    pub(crate) child: Child,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it was called.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// The pipe to its standard input, if it was started with one. Dropping it ends the input.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("started with a pipe, which is taken once")
    }

    /// The most memory that it has had resident so far, in bytes; 0 if it has ended.
    #[must_use]
    pub fn memory_peak(&self) -> u64 {
        memory_peak(self.pid())
    }

    /// Whether a signal that was sent to it has not reached it yet.
    #[must_use]
    pub fn has_pending_signals(&self) -> bool {
        status_field(self.pid(), "ShdPnd:").is_some_and(|set| set.contains(|digit| digit != '0'))
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("waitpid").is_none()
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until it ends; returns nothing, and leaves it running, if it does not within the limit.
    pub fn wait(&mut self, limit: Duration) -> Option<Ended> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waitpid") {
                drop(unless_ending());
                return Some(Ended {
                    name: self.name.clone(),
                    status,
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                });
            }
            if start.elapsed() > limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stops a process with SIGSTOP and waits until it stands still: until then it may go on for a moment,
/// and be handed a message that was sent after the signal. Returns whether it stands.
#[must_use]
pub fn stop(pid: i32) -> bool {
    let sent = kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok();
    // A signal is not held back for long, whatever the process does; one that ended has no state T.
    let start = Instant::now();
    while sent && start.elapsed() < Duration::from_secs(10) {
        match ProcessStat::of(Pid::from_raw(pid)).map(|stat| stat.state) {
            Some('T' | 't') => return true,
            None | Some('Z' | 'X') => return false,
            Some(_) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
    false
}

/// The same, at a moment when the process does not hold the lock on this log, so that others can go on.
#[must_use]
pub fn stop_outside_lock(pid: i32, log: &Path) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if !stop(pid) {
            return false;
        }
        // Unlocked, not only closed: a child that is being started has a copy of it for a moment.
        let free =
            File::open(log).map_or(true, |log| log.try_lock().is_ok() && log.unlock().is_ok());
        if free {
            return true;
        }
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// The most memory that a process has had resident so far, in bytes; 0 if it has ended.
#[must_use]
pub fn memory_peak(pid: i32) -> u64 {
    status_field(pid, "VmHWM:")
        .and_then(|size| size.strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes * 1024)
}

/// A field of a process's status, as `proc_pid_status(5)` names it, with a colon.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

fn read(path: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Starts this very program again. Not by its path, under which a newer build may lie by now.
#[must_use]
pub fn this_program() -> Command {
    Command::new("/proc/self/exe")
}
