//! `RLIMIT_NOFILE` from the least with which a program can be loaded.

use tests::{Ended, Sandbox};

use super::limited::{self, Limited, clear_error, expect_log, run_free, undisturbed, wait_until};
use super::{Failure, Setting};

const LIMITS: std::ops::RangeInclusive<u32> = 3..=14;
/// What the dynamic loader ends with when it cannot open a library: the program has not begun.
const NOT_LOADED: i32 = 127;

pub(super) fn all_programs(setting: &Setting<'_>) -> Result<String, Failure> {
    let whole = undisturbed(setting, "Halo A;10")?;
    let mut refused = 0;
    for number in LIMITS {
        // The soft limit alone, so that it can be raised again.
        let limit = format!("--nofile={number}:256");
        let context = |error| format!("{number} descriptors: {error}");
        let sandbox = setting.sandbox();
        let client = limited::run(&sandbox, &limit, "client", &["Halo A;10"]).map_err(context)?;
        if is_refused(&client).map_err(context)? {
            refused += 1;
            run_free(&sandbox, "client", &["Halo A;10"])?;
        }
        let worker = limited::run(&sandbox, &limit, "worker", &["9", "--dir", "/nowhere"]);
        is_refused(&worker.map_err(context)?).map_err(context)?;
        let balancer = balancer(&sandbox, &limit).map_err(context)?;
        if is_refused(&balancer).map_err(context)? {
            refused += 1;
            run_free(&sandbox, "loadbalancer", &["3"])?;
        }
        expect_log(&sandbox, &whole).map_err(context)?;
    }
    Ok(format!("{} limits, {refused} times refused", LIMITS.count()))
}

/// It either ends, or says that it cannot start a worker: then the limit is raised.
fn balancer(sandbox: &Sandbox, limit: &str) -> Result<Ended, String> {
    let mut balancer = Limited::start(limited::command(sandbox, limit, "loadbalancer", &["3"]))?;
    let start = std::time::Instant::now();
    wait_until("an end, or the second try", || {
        !balancer.is_running().unwrap_or(false)
            || start.elapsed() > std::time::Duration::from_millis(1500)
    })?;
    if balancer.is_running()? {
        super::processes::raise(balancer.pid(), "--nofile=256")?;
    }
    balancer.wait()
}

fn is_refused(ended: &Ended) -> Result<bool, String> {
    match ended.status.code() {
        Some(0) => Ok(false),
        Some(NOT_LOADED) => Ok(true),
        _ => clear_error(ended).map(|()| true),
    }
}
