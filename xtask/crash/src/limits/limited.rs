//! Programs under a resource limit (`prlimit(1)`), with pipes for what they print: a file would fall
//! under the limit too.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Sandbox, objects_that_stay};

/// A check waits so long for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
pub(super) struct Limited(Option<Child>);

/// A program that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A command for a program under a limit, as `--fsize=100`.
pub(super) fn command(sandbox: &Sandbox, limit: &str, program: &str, args: &[&str]) -> Command {
    let plain = sandbox.command(program, args);
    let mut command = Command::new("prlimit");
    command.arg(limit).arg("--").arg(plain.get_program()).args(args).current_dir(sandbox.dir());
    command
}

impl Limited {
    pub(super) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self(Some(child)))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Waits for its end; an error if that does not come. What it prints must fit its pipes.
    pub(super) fn wait(mut self) -> Result<Ended, String> {
        let start = Instant::now();
        while self.is_running()? {
            if start.elapsed() > PATIENCE {
                return Err(format!("has not ended within {PATIENCE:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let child = self.0.take().ok_or("waited for twice")?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok(Ended { status: output.status, stdout, stderr })
    }

    /// Waits for its end, or asks for it once it waits for work.
    pub(super) fn end_or_terminate(mut self, sandbox: &Sandbox) -> Result<(), String> {
        let pid = Pid::from_raw(self.pid().cast_signed());
        wait_until("an end, or a wait for a session", || {
            !self.is_running().unwrap_or(false) || sandbox.has_worker(1)
        })?;
        let _ = kill(pid, Signal::SIGTERM);
        let ended = self.wait()?;
        let code = ended.status.code();
        if matches!(code, Some(0 | 143)) { Ok(()) } else { Err(format!("{ended:?}")) }
    }

    pub(super) fn is_running(&mut self) -> Result<bool, String> {
        let Some(child) = &mut self.0 else { return Ok(false) };
        child.try_wait().map(|status| status.is_none()).map_err(|error| error.to_string())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// It ended with this code.
    pub(super) fn expect_code(self, code: i32) -> Result<Self, String> {
        if self.status.code() == Some(code) {
            Ok(self)
        } else {
            Err(format!("not {code}: {self:?}"))
        }
    }

    /// It ended with an error in words: not by a signal, not by a panic.
    pub(super) fn expect_clear_error(self) -> Result<Self, String> {
        let clear = self.status.code() == Some(3) && !self.stderr.is_empty();
        if clear && self.status.signal().is_none() {
            Ok(self)
        } else {
            Err(format!("no clear error: {self:?}"))
        }
    }
}

/// Runs a program under a limit to its end.
pub(super) fn run(
    sandbox: &Sandbox,
    limit: &str,
    program: &str,
    args: &[&str],
) -> Result<Ended, String> {
    Limited::start(command(sandbox, limit, program, args))?.wait()
}

/// Runs a program without limits; it must end well.
pub(super) fn run_free(sandbox: &Sandbox, program: &str, args: &[&str]) -> Result<(), String> {
    let plain = sandbox.command(program, args);
    Limited::start(plain)?.wait()?.expect_code(0).map(drop)
}

/// The log is these bytes, and nothing is left but it.
pub(super) fn expect_log(sandbox: &Sandbox, expected: &str) -> Result<(), String> {
    if sandbox.log() != expected {
        return Err(format!("the log is not as it would be undisturbed{}", sandbox.report()));
    }
    let objects = objects_that_stay(&sandbox.dir());
    if objects.is_empty() { Ok(()) } else { Err(format!("left: {objects:?}")) }
}

/// The log is the beginning of these bytes, cut between two lines. Read under its lock: what tries again
/// and again on a full disk writes a part, and cuts it off before it lets the lock go.
pub(super) fn expect_whole_lines(sandbox: &Sandbox, expected: &str) -> Result<(), String> {
    let log = std::fs::File::open(sandbox.log_path())
        .and_then(|file| file.lock().map(|()| file))
        .map(|_lock| sandbox.log())
        .map_err(|error| format!("cannot lock the log: {error}"))?;
    let is_whole = log.is_empty() || log.ends_with('\n');
    if expected.starts_with(&log) && is_whole {
        return Ok(());
    }
    Err(format!("at rest the log is not whole lines of the undisturbed one{}", sandbox.report()))
}

/// Waits until something has happened.
pub(super) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while !happened() {
        if start.elapsed() > PATIENCE {
            return Err(format!("never happened: {what}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
