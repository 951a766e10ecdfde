//! Starts a program and waits for its end in the kernel, so that nothing is added to its time; a
//! program that does not end is killed from beside, so that a hang becomes an error.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failure::Failure;

/// A command that starts this very program as one of those that are measured.
pub(super) fn as_subprocess(which: &str) -> Command {
    let mut command = tests::this_program();
    command.arg(which).stdin(Stdio::null());
    command
}

/// How long one program may run. Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(300);

/// A program that runs; killed when dropped.
pub(super) struct Launched {
    pub(super) child: Child,
    name: String,
    stderr: File,
}

/// Starts it, with what it writes to stderr kept for a failure's report.
pub(super) fn launch(mut command: Command) -> Result<Launched, Failure> {
    let name = command.get_program().display().to_string();
    let stderr = tempfile::tempfile().map_err(Failure::system("a temp file"))?;
    let copy = stderr.try_clone().map_err(Failure::system("a temp file"))?;
    let child = command.stderr(copy).spawn().map_err(Failure::system(&name))?;
    Ok(Launched::new(child, name, stderr))
}

/// Runs it to its end, and returns how long that took.
pub(super) fn time(command: Command) -> Result<Duration, Failure> {
    let start = Instant::now();
    launch(command)?.finish()?;
    Ok(start.elapsed())
}

/// The name of the program that a process is.
pub(super) fn program(pid: i32) -> String {
    tests::status_field(pid, "Name:").unwrap_or_default()
}

/// What a program prints, if it is installed and ends well.
pub(super) fn printed(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Launched {
    fn new(child: Child, name: String, stderr: File) -> Self {
        let launched = Self { child, name, stderr };
        watch(launched.pid());
        launched
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// One that was started in another way: what it writes to stderr is its own business.
    pub(super) fn adopt(child: Child, name: String) -> Result<Self, Failure> {
        let stderr = tempfile::tempfile().map_err(Failure::system("a temp file"))?;
        Ok(Self::new(child, name, stderr))
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        // It may have ended already.
        let _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// Waits for its end, which must be exit code 0.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let status = self.child.wait().map_err(Failure::system("waitpid"))?;
        unwatch(self.pid());
        if status.success() {
            return Ok(());
        }
        let mut stderr = Vec::new();
        // What cannot be read is left out of the report.
        let _ = self.stderr.rewind().and_then(|()| self.stderr.read_to_end(&mut stderr));
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Err(Failure::Program { name: self.name.clone(), status, stderr })
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        unwatch(self.pid());
    }
}

/// What runs, and until when it may.
static RUNNING: Mutex<Vec<(Pid, Instant)>> = Mutex::new(Vec::new());

/// From now on this process has to end in time.
pub(super) fn watch(pid: Pid) {
    static WATCHDOG: Once = Once::new();
    WATCHDOG.call_once(|| drop(std::thread::spawn(kill_late_ones)));
    running().push((pid, Instant::now() + LIMIT));
}

/// It has.
pub(super) fn unwatch(pid: Pid) {
    running().retain(|(running, _)| *running != pid);
}

fn running() -> std::sync::MutexGuard<'static, Vec<(Pid, Instant)>> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn kill_late_ones() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        for (pid, deadline) in running().iter() {
            if *deadline < Instant::now() {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
    }
}
