//! EAGAIN at fork: `RLIMIT_NPROC`, which does not bind root, so the balancer runs as nobody.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::process::Command;

use super::limited::{end, undisturbed, wait_until};
use super::{Failure, Setting};

const NOBODY: u32 = 65_534;

/// Raises a limit of a running process.
pub(super) fn raise(pid: u32, limit: &str) -> Result<(), String> {
    let mut command = Command::new("prlimit");
    command.arg(limit).arg("--pid").arg(pid.to_string());
    expect_success(command)
}

fn expect_success(mut command: Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{command:?}: {other:?}")),
    }
}

pub(super) fn balancer(setting: &Setting<'_>) -> Result<String, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::NotRun("root, to become another user".to_owned()));
    }
    let whole = undisturbed(setting, "Halo A;10")?;
    let sandbox = setting.sandbox();
    let dir = sandbox.dir();
    let root = sandbox.root().path();
    // The programs too: the ones that were built may lie where nobody may look.
    for program in ["client", "loadbalancer", "worker"] {
        let from = sandbox.command(program, &[]).get_program().to_owned();
        std::fs::copy(from, root.join(program)).map_err(|error| error.to_string())?;
    }
    for path in [root, &dir] {
        chown(path, Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
    }
    let as_nobody = |args: &[&OsStr]| {
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        let mut command = Command::new("setpriv");
        command.args(ids).args(["--clear-groups", "prlimit"]).args(args).current_dir(&dir);
        command
    };
    let program = |name: &str| root.join(name).into_os_string();
    let limited = |limit: &str, name: &str, arg: &str| {
        as_nobody(&[limit.as_ref(), "--".as_ref(), &program(name), arg.as_ref()])
    };
    let client = limited("--nproc=64", "client", "Halo A;10");
    end(&mut sandbox.start_command(client, "client as nobody"))?.expect_code(0)?;
    // The soft limit alone, so that it can be raised again.
    let command = limited("--nproc=1:64", "loadbalancer", "3");
    let mut balancer = sandbox.start_command(command, "loadbalancer as nobody");
    let told = || balancer.stderr().contains("cannot start worker");
    wait_until("it says that it cannot start a worker", told)
        .map_err(|error| format!("{error}{}", sandbox.report()))?;
    let pid = balancer.pid().to_string();
    expect_success(as_nobody(&["--nproc=64".as_ref(), "--pid".as_ref(), pid.as_ref()]))?;
    let ended = end(&mut balancer)?;
    let once = ended.stderr.matches("cannot start worker").count() <= 3;
    if ended.status.code() != Some(0) || !once || sandbox.log() != whole {
        return Err(format!("{ended:?}{}", sandbox.report()).into());
    }
    Ok("told once for each worker, and finished when there was room".to_owned())
}
