//! Workers that are stopped, or do not stay.

use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

use super::limited::{clear_error, end, end_of, expect_log, run_free, wait_until};
use super::{Failure, Setting};
use crate::witness;
use common::grammar::rotation::WorkerId;

pub(super) fn stopped(setting: &Setting<'_>) -> Result<String, Failure> {
    let sandbox = setting.sandbox();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    let mut pid = None;
    wait_until("worker 1 runs", || {
        pid = sandbox.spawned_worker(1);
        pid.is_some() && sandbox.has_worker(1)
    })?;
    let pid = Pid::from_raw(pid.ok_or("no worker 1")?);
    if !tests::stop_outside_lock(pid.as_raw(), &sandbox.log_path()) {
        return Err("worker 1 did not stop".into());
    }
    let stopped = Instant::now();
    // More than one queue holds, so that the others cannot be waiting for worker 1's.
    run_free(&sandbox, "client", &["Halo A;30000"])?;
    let executed = |k| {
        let worker = WorkerId::new(k).ok();
        witness::ledger(&sandbox.dir())
            .zip(worker)
            .map_or(0, |(ledger, worker)| ledger.cell(worker).executed())
    };
    wait_until("the others execute their 10000 messages", || {
        executed(2) == 10_000 && executed(3) == 10_000
    })?;
    let others_ms = stopped.elapsed().as_millis();
    if executed(1) != 0 || others_ms > 2500 {
        return Err(format!("others were done after {others_ms} ms{}", sandbox.report()).into());
    }
    wait_until("it is reported", || balancer.stderr().contains("is stopped"))?;
    wait_until("it is replaced", || kill(pid, None).is_err())?;
    let replaced = stopped.elapsed();
    if replaced < Duration::from_secs(2) || replaced > Duration::from_secs(6) {
        return Err(format!("replaced after {replaced:?}, not about 3 s").into());
    }
    let ended = end(&mut balancer)?;
    if ended.status.code() != Some(0) || !sandbox.log().ends_with("Worker 3: 10000 messages\n") {
        return Err(format!("{ended:?}{}", sandbox.report()).into());
    }
    Ok(format!(
        "the others were done after {others_ms} ms; replaced after {:.1} s",
        replaced.as_secs_f64()
    ))
}

pub(super) fn dying(setting: &Setting<'_>) -> Result<String, Failure> {
    let sandbox = setting.sandbox();
    run_free(&sandbox, "client", &["Halo A;10"])?;
    let start = Instant::now();
    let args = ["--worker-program", "/bin/false", "1"];
    let ended = end_of(&sandbox, "loadbalancer", &args)?;
    clear_error(&ended)?;
    if !ended.stderr.contains("times in a row") {
        return Err(format!("{ended:?}").into());
    }
    let seconds = start.elapsed().as_secs_f64();
    let args = ["--worker-program", "/nowhere/worker", "1"];
    clear_error(&end_of(&sandbox, "loadbalancer", &args)?)?;
    run_free(&sandbox, "loadbalancer", &["1"])?;
    let log = sandbox.log();
    expect_log(&sandbox, &log)?;
    if !log.ends_with("Worker 1: 10 messages\n") {
        return Err(sandbox.report().into());
    }
    Ok(format!("a clear error after {seconds:.1} s; finished by the next start"))
}
