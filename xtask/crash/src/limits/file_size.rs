//! `RLIMIT_FSIZE` at every byte of the sample's log: the write that crosses it comes back short, and the
//! next one fails with EFBIG.

use std::ops::ControlFlow;

use nix::sys::signal::Signal;

use super::limited::{
    self, Limited, clear_error, end, expect_log, expect_whole_lines, run_free, undisturbed,
    wait_until,
};
use super::{Failure, Setting};
use crate::lanes;

const SUBMISSION: &str = "Halo A;10";
const WORKERS: &str = "3";
/// Runs at a time: their processes mostly wait.
const LANES: usize = 3;

/// Tries each limit from 0 to the log's length.
fn at_every_byte(
    setting: &Setting<'_>,
    attempt: impl Fn(&Setting<'_>, &str, u64) -> Result<bool, String> + Sync,
) -> Result<String, Failure> {
    let whole = undisturbed(setting, SUBMISSION)?;
    let (mut hit, mut wrong) = (0, None);
    lanes::play_all(
        LANES,
        0..=whole.len() as u64,
        |&bytes| attempt(setting, &whole, bytes),
        |bytes, met| match met {
            Ok(met) => {
                hit += u64::from(met);
                ControlFlow::Continue(())
            }
            Err(error) => {
                wrong.get_or_insert(format!("at {bytes} bytes: {error}"));
                ControlFlow::Break(())
            }
        },
    );
    if let Some(wrong) = wrong {
        return Err(wrong.into());
    }
    let tried = whole.len() + 1;
    if hit == 0 {
        return Err("no limit was ever met".into());
    }
    Ok(format!("{tried} limits tried, {hit} of them met"))
}

pub(super) fn client(setting: &Setting<'_>) -> Result<String, Failure> {
    at_every_byte(setting, |setting, whole, bytes| {
        let sandbox = setting.sandbox();
        let ended = limited::run(&sandbox, &format!("--fsize={bytes}"), "client", &[SUBMISSION])?;
        expect_whole_lines(&sandbox, whole)?;
        let accepted = ended.status.code() == Some(0);
        if !accepted {
            clear_error(&ended)?;
            let in_vain = sandbox.log().is_empty() && sandbox.leftovers().is_empty();
            if !ended.stderr.contains("not accepted") || !in_vain {
                return Err(format!("{ended:?}{}", sandbox.report()));
            }
            run_free(&sandbox, "client", &[SUBMISSION])?;
        }
        run_free(&sandbox, "loadbalancer", &[WORKERS])?;
        expect_log(&sandbox, whole)?;
        Ok(!accepted)
    })
}

pub(super) fn balancer(setting: &Setting<'_>) -> Result<String, Failure> {
    at_every_byte(setting, |setting, whole, bytes| {
        let sandbox = setting.sandbox();
        run_free(&sandbox, "client", &[SUBMISSION])?;
        let limit = format!("--fsize={bytes}");
        let ended = limited::run(&sandbox, &limit, "loadbalancer", &[WORKERS])?;
        // Its workers die after it.
        wait_until("no process is left", || sandbox.processes().is_empty())?;
        expect_whole_lines(&sandbox, whole)?;
        let met = ended.status.code() != Some(0);
        if met {
            clear_error(&ended)?;
            run_free(&sandbox, "loadbalancer", &[WORKERS])?;
        }
        expect_log(&sandbox, whole)?;
        Ok(met)
    })
}

pub(super) fn worker(setting: &Setting<'_>) -> Result<String, Failure> {
    at_every_byte(setting, |setting, whole, bytes| {
        let sandbox = setting.sandbox();
        let limit = format!("--fsize={bytes}");
        let mut under_limit = Limited::start(limited::command(&sandbox, &limit, "worker", &["1"]))?;
        let others = ["2", "3"].map(|k| sandbox.start("worker", &[k]));
        let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", WORKERS]);
        run_free(&sandbox, "client", &[SUBMISSION])?;
        wait_until("an end", || {
            !under_limit.is_running().unwrap_or(false) || !balancer.is_running()
        })?;
        let ended = under_limit.wait()?;
        let met = ended.status.code() != Some(0);
        let mut again = None;
        if met {
            clear_error(&ended)?;
            again = Some(sandbox.start("worker", &["1"]));
        }
        end(&mut balancer)?.expect_code(0)?;
        for mut worker in others {
            end(&mut worker)?.expect_code(0)?;
        }
        if let Some(mut again) = again {
            // If only its total was missing, the session ended without it, and it waits for the next.
            wait_until("an end, or a wait for a session", || {
                !again.is_running() || sandbox.has_worker(1)
            })?;
            again.signal(Signal::SIGTERM);
            let ended = end(&mut again)?;
            if !matches!(ended.status.code(), Some(0 | 143)) {
                return Err(format!("{ended:?}"));
            }
        }
        expect_log(&sandbox, whole)?;
        Ok(met)
    })
}
