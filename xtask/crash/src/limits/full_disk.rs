//! ENOSPC on tmpfs of 1 to 20 pages, mounted where only the check's own thread and its children see it.

use tests::Sandbox;
use tests::oracle::canonical_log;

use super::limited::{
    clear_error, end, end_of, expect_log, expect_whole_lines, run_free, undisturbed, wait_until,
};
use super::namespaces::own_mounts;
use super::{Failure, Setting};

const PAGE: usize = 4096;
const SIZES: usize = 20;
/// Room for everything.
const AMPLE: usize = 16 << 20;

fn set_room(sandbox: &mut Sandbox, bytes: usize) -> Result<(), String> {
    sandbox.set_room(bytes).map_err(|error| format!("tmpfs: {error}"))
}

pub(super) fn client(setting: &Setting<'_>) -> Result<String, Failure> {
    own_mounts()?;
    // More than the smallest 19 sizes hold; texts that all differ.
    let texts: Vec<String> =
        (0..SIZES - 1).map(|i| format!("{i:02} {}", "x".repeat(PAGE - 3))).collect();
    let submissions: Vec<String> = texts.iter().map(|text| format!("{text};1")).collect();
    // One worker, all accepted before the balancer came.
    let each: Vec<(&str, u32)> = texts.iter().map(|text| (text.as_str(), 1)).collect();
    let expected_log = |accepted: usize| canonical_log(&each[..accepted], 1);
    let mut refused = 0;
    for pages in 1..=SIZES {
        let mut sandbox = setting.sandbox();
        set_room(&mut sandbox, pages * PAGE)?;
        let mut accepted = 0;
        for submission in &submissions {
            let ended = end_of(&sandbox, "client", &[submission])?;
            if ended.status.code() == Some(0) {
                accepted += 1;
                continue;
            }
            clear_error(&ended)?;
            if !ended.stderr.contains("not accepted") || ended.stdout.contains("accepted") {
                return Err(format!("{pages} pages: {ended:?}").into());
            }
            refused += 1;
            break;
        }
        let expected = expected_log(accepted);
        expect_whole_lines(&sandbox, &expected)?;
        set_room(&mut sandbox, AMPLE)?;
        if accepted == 0 {
            run_free(&sandbox, "client", &[&submissions[0]])?;
            accepted = 1;
        }
        run_free(&sandbox, "loadbalancer", &["1"])?;
        expect_log(&sandbox, &expected_log(accepted))
            .map_err(|error| format!("{pages} pages: {error}"))?;
    }
    if refused == 0 {
        return Err("no disk was ever full".into());
    }
    Ok(format!("{SIZES} sizes, {refused} times not accepted, and not in the log"))
}

pub(super) fn balancer(setting: &Setting<'_>) -> Result<String, Failure> {
    own_mounts()?;
    let submission = "Halo A;1100"; // 70 KiB of log: all sizes but the last few are too small
    let whole = undisturbed(setting, submission)?;
    let mut full = 0;
    for pages in 1..=SIZES {
        let mut sandbox = setting.sandbox();
        set_room(&mut sandbox, pages * PAGE)?;
        run_free(&sandbox, "client", &[submission])?;
        let mut balancer = sandbox.start("loadbalancer", &["3"]);
        let mut ended = None;
        wait_until("an end, or waiting for room", || {
            ended = balancer.wait(std::time::Duration::ZERO);
            ended.is_some() || balancer.stderr().contains("waiting for room")
        })?;
        let ended = if let Some(ended) = ended {
            ended
        } else {
            full += 1;
            // For a while, so that it could say it again and again.
            std::thread::sleep(std::time::Duration::from_millis(300));
            expect_whole_lines(&sandbox, &whole)?;
            set_room(&mut sandbox, AMPLE)?;
            end(&mut balancer).map_err(|why| format!("{why}{}", sandbox.report()))?
        };
        let told = ended.stderr.matches("waiting for room").count();
        if ended.status.code() != Some(0) || told > 1 {
            return Err(format!("{pages} pages: {ended:?}").into());
        }
        expect_log(&sandbox, &whole).map_err(|error| format!("{pages} pages: {error}"))?;
    }
    if full == 0 {
        return Err("no disk was ever full".into());
    }
    Ok(format!("{SIZES} sizes, {full} times full: told once, and finished"))
}
