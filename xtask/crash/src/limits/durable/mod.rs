//! `--durable`: the log is on the disk before anything is confirmed; and what that costs.

mod cost;
mod trace;

use std::io::Write as _;
use std::process::Stdio;

use nix::errno::Errno;
use nix::unistd::Pid;
use tests::ptrace;

use super::limited::{run_free, wait_until};
use super::{Failure, Setting};
use trace::{Effect, to_its_end};

pub(super) use cost::cost;

/// The order of calls, with the flag and, so that the check can fail, without it.
pub(super) fn order(setting: &Setting<'_>) -> Result<String, Failure> {
    let client_calls = client(setting, &["--durable"])?;
    let expected = [Effect::LogWritten, Effect::LogSynced, Effect::StdoutWritten];
    if client_calls != expected {
        return Err(format!("client --durable: {client_calls:?}, not {expected:?}").into());
    }
    let plain = client(setting, &[])?;
    if plain != [Effect::LogWritten, Effect::StdoutWritten] {
        return Err(format!("client: {plain:?}").into());
    }
    let balancer = balancer(setting, &["--durable", "1"])?;
    let syncs = check_balancer(&balancer)?;
    let plain = balancer_syncs(&self::balancer(setting, &["1"])?);
    if plain > 0 {
        return Err(format!("loadbalancer without the flag synced {plain} times").into());
    }
    Ok(format!(
        "client: write, fdatasync, then `accepted`; balancer: {syncs} fdatasyncs, each before the next frame, \
         and the last before the ledger is removed"
    ))
}

/// Traces a client that reads one submission from a pipe.
fn client(setting: &Setting<'_>, args: &[&str]) -> Result<Vec<Effect>, Failure> {
    let sandbox = setting.sandbox();
    let (reader, mut writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let mut command = sandbox.command("client", args);
    command.stdin(Stdio::from(reader));
    let process = sandbox.start_command(command, "client");
    // It has opened the log before it reads.
    wait_until("the client reads", || is_in(process.pid(), "pipe_read"))?;
    let pid = Pid::from_raw(process.pid());
    match ptrace::attach(pid) {
        Err(Errno::EPERM) => {
            return Err(Failure::NotRun(
                "ptrace (kernel.yama.ptrace_scope = 0, or root)".to_owned(),
            ));
        }
        attached => attached.map_err(|error| error.to_string())?,
    }
    writer.write_all(b"Halo A;10\n").map_err(|error| error.to_string())?;
    drop(writer);
    Ok(to_its_end(pid, &canonical(&sandbox.log_path())?)?)
}

/// Traces a balancer through a session.
fn balancer(setting: &Setting<'_>, args: &[&str]) -> Result<Vec<Effect>, String> {
    let sandbox = setting.sandbox();
    let process = sandbox.start("loadbalancer", args);
    wait_until("the balancer waits", || is_in(process.pid(), "poll"))?;
    let pid = Pid::from_raw(process.pid());
    ptrace::attach(pid).map_err(|error| error.to_string())?;
    run_free(&sandbox, "client", &["Halo A;10"])?;
    to_its_end(pid, &canonical(&sandbox.log_path())?)
}

fn canonical(path: &std::path::Path) -> Result<std::path::PathBuf, String> {
    path.canonicalize().map_err(|error| error.to_string())
}

/// Whether a process sleeps in a function of the kernel whose name has this in it.
fn is_in(pid: i32, function: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|name| name.contains(function))
}

fn balancer_syncs(calls: &[Effect]) -> usize {
    calls.iter().filter(|call| **call == Effect::LogSynced).count()
}

/// Nothing that it wrote is unsynced when it sends a frame, and nothing at all at the end.
fn check_balancer(calls: &[Effect]) -> Result<usize, String> {
    let mut unsynced = false;
    for call in calls {
        match call {
            Effect::LogWritten => unsynced = true,
            Effect::LogSynced => unsynced = false,
            Effect::FrameSent if unsynced => return Err(format!("sent before synced: {calls:?}")),
            _ => {}
        }
    }
    // Workers may have written after its last write: the end has a sync of its own.
    let end: Vec<&Effect> = calls.iter().rev().take(2).collect();
    if end != [&Effect::SegmentRemoved, &Effect::LogSynced] {
        return Err(format!("not synced at the end: {calls:?}"));
    }
    Ok(balancer_syncs(calls))
}
