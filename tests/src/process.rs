//! One running program of a sandbox.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc::{memory_peak, status_field};
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

impl Ended {
    /// For tools: it must have ended with this exit code.
    pub fn expect_code(&self, code: i32) -> Result<(), String> {
        if self.status.code() == Some(code) {
            return Ok(());
        }
        let Self { name, status, stderr, .. } = self;
        Err(format!("`{name}` ended with {status} instead of {code}: {stderr}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(path: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Starts this very program again. Not by its path, under which a newer build may lie by now.
#[must_use]
pub fn this_program() -> Command {
    Command::new("/proc/self/exe")
}
