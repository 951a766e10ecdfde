//! Programs under a resource limit (`prlimit(1)`), with pipes for what they print: a file would fall
//! under the limit too.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Ended, Process, Sandbox, objects_that_stay};

use super::Setting;

/// A check waits so long for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
pub(super) struct Limited {
    name: String,
    child: Child,
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
        let name = format!("{command:?}");
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, child })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
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
        let error = |error: io::Error| error.to_string();
        let status = self.child.wait().map_err(error)?;
        let stdout = self.child.stdout.take().map(io::read_to_string).transpose().map_err(error)?;
        let stderr = self.child.stderr.take().map(io::read_to_string).transpose().map_err(error)?;
        let (stdout, stderr) = (stdout.unwrap_or_default(), stderr.unwrap_or_default());
        Ok(Ended { name: self.name.clone(), status, stdout, stderr })
    }

    pub(super) fn is_running(&mut self) -> Result<bool, String> {
        self.child.try_wait().map(|status| status.is_none()).map_err(|error| error.to_string())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It must have ended with an error in words: not by a signal, not by a panic.
pub(super) fn clear_error(ended: &Ended) -> Result<(), String> {
    let clear = ended.status.code() == Some(3) && !ended.stderr.is_empty();
    if clear { Ok(()) } else { Err(format!("no clear error: {ended:?}")) }
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

/// Runs a program without limits to its end.
pub(super) fn end_of(sandbox: &Sandbox, program: &str, args: &[&str]) -> Result<Ended, String> {
    end(&mut sandbox.start(program, args))
}

/// The same of one that is running.
pub(super) fn end(process: &mut Process) -> Result<Ended, String> {
    process.wait(PATIENCE).ok_or_else(|| format!("has not ended within {PATIENCE:?}"))
}

/// Runs a program without limits; it must end well.
pub(super) fn run_free(sandbox: &Sandbox, program: &str, args: &[&str]) -> Result<(), String> {
    end_of(sandbox, program, args)?.expect_code(0)
}

/// The log of an undisturbed run with three workers.
pub(super) fn undisturbed(setting: &Setting<'_>, submission: &str) -> Result<String, String> {
    let sandbox = setting.sandbox();
    run_free(&sandbox, "client", &[submission])?;
    run_free(&sandbox, "loadbalancer", &["3"])?;
    Ok(sandbox.log())
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
