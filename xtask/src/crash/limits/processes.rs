//! EAGAIN at fork: RLIMIT_NPROC, which does not bind root, so the balancer runs as nobody.

use std::os::unix::fs::chown;
use std::process::Command;

use super::limited::{Limited, run_free, wait_until};
use super::{Outcome, Setting};

const NOBODY: u32 = 65_534;

/// Raises a limit of a running process.
pub(super) fn raise(pid: u32, limit: &str) -> Result<(), String> {
    let status = Command::new("prlimit").arg(limit).arg("--pid").arg(pid.to_string()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("prlimit {limit}: {other:?}")),
    }
}

pub(super) fn balancer(setting: &Setting) -> Result<Outcome, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Outcome::NotRun("root, to become another user".to_owned()));
    }
    let whole = {
        let sandbox = setting.sandbox();
        run_free(&sandbox, "client", &["Halo A;10"])?;
        run_free(&sandbox, "loadbalancer", &["3"])?;
        sandbox.log()
    };
    let sandbox = setting.sandbox();
    let dir = sandbox.dir();
    let root = dir.parent().ok_or("no parent")?.to_owned();
    // The programs too: the ones that were built may lie where nobody may look.
    for program in ["client", "loadbalancer", "worker"] {
        let from = sandbox.command(program, &[]).get_program().to_owned();
        std::fs::copy(from, root.join(program)).map_err(|error| error.to_string())?;
    }
    for path in [&root, &dir] {
        chown(path, Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
    }
    let as_nobody = |limit: &str, program: &str, arg: &str| {
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        let mut command = Command::new("setpriv");
        command.args(ids).args(["--clear-groups", "prlimit", limit, "--"]);
        command.arg(root.join(program)).arg(arg).current_dir(&dir);
        command
    };
    Limited::start(as_nobody("--nproc=64", "client", "Halo A;10"))?.wait()?.expect_code(0)?;
    let command = as_nobody("--nproc=1", "loadbalancer", "3");
    let balancer = sandbox.start_command(command, "loadbalancer as nobody");
    let told = || balancer.stderr().contains("cannot start worker");
    wait_until("it says that it cannot start a worker", told)
        .map_err(|error| format!("{error}{}", sandbox.report()))?;
    raise(balancer.pid().cast_unsigned(), "--nproc=64:64")?;
    let mut balancer = balancer;
    let ended = balancer.wait(super::limited::PATIENCE).ok_or("it never ended")?;
    let once = ended.stderr.matches("cannot start worker").count() <= 3;
    if ended.status.code() != Some(0) || !once || sandbox.log() != whole {
        return Err(format!("{ended:?}{}", sandbox.report()));
    }
    Ok(Outcome::Passed("told once for each worker, and finished when there was room".to_owned()))
}
