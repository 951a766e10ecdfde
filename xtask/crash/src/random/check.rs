//! What must hold at the end of a round.

use std::collections::HashMap;
use std::ffi::OsString;

use common::dead;
use common::line::Line;
use common::replay::Replay;
use common::rotation::Workers;
use common::submission::Submission;
use tests::{Sandbox, objects_that_stay};

use super::plan::Plan;
use super::stage::Stage;

/// What a log of whole sessions holds.
pub(crate) struct Log {
    pub(crate) submissions: Vec<Submission>,
    pub(crate) messages: u64,
    pub(crate) sessions: u64,
    /// How many submissions there were when each session ended.
    pub(super) ends: Vec<usize>,
}

/// Reads the log: canonical order, rotation and totals, and no session unfinished.
pub(crate) fn read_log(sandbox: &Sandbox, plan: &Plan) -> Result<Log, String> {
    let Read { log, mut replay, is_torn } = read_lines(sandbox, plan)?;
    if is_torn {
        return Err("sistem.log ends inside a line".to_owned());
    }
    match replay.finish() {
        Ok(_) => Ok(log),
        Err(fault) => Err(format!("at the end of sistem.log: {fault}")),
    }
}

/// What a log holds so far.
pub(crate) struct Read {
    pub(crate) log: Log,
    replay: Replay,
    /// Behind the last whole line there are some bytes.
    is_torn: bool,
}

/// Reads whole lines: canonical order and rotation.
pub(crate) fn read_lines(sandbox: &Sandbox, plan: &Plan) -> Result<Read, String> {
    let bytes = std::fs::read(sandbox.log_path()).unwrap_or_default();
    let mut replay = Replay::new(Workers::new(plan.workers).ok());
    let mut log = Log { submissions: Vec::new(), messages: 0, sessions: 0, ends: Vec::new() };
    let mut text = None;
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let place = |what: &dyn std::fmt::Display| format!("sistem.log:{}: {what}", number + 1);
        let Some(line) = line.strip_suffix(b"\n") else {
            return Ok(Read { log, replay, is_torn: true });
        };
        let ended = replay.push(line).map_err(|fault| place(&fault))?;
        if let Some(summary) = ended {
            log.messages += summary.messages;
            log.sessions += 1;
            log.ends.push(log.submissions.len());
        }
        match Line::parse_bytes(line) {
            Some(Line::Client { text: of }) => text = Some(of),
            Some(Line::Count { count }) => {
                let text = text.take().unwrap_or_default();
                let submission = Submission::new(text.as_bytes(), count);
                log.submissions.push(submission.map_err(|error| place(&error))?.to_owned());
            }
            _ => {}
        }
    }
    Ok(Read { log, replay, is_torn: false })
}

/// Everything accepted is there once; what is there was submitted; each client's are in its order,
/// without a gap; and nothing is left behind.
pub(crate) fn check(stage: &mut Stage<'_>) -> Result<(), String> {
    let log = read_log(stage.sandbox, stage.plan)?;
    // Where each submission of each life stands in the log.
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, submission) in log.submissions.iter().enumerate() {
        if places.insert(submission.to_string(), place).is_some() {
            return Err(format!("twice in the log: {submission}"));
        }
    }
    for client in &stage.clients {
        let mut newest = None;
        for life in &client.lives {
            let accepted = life.accepted()?;
            let mut missing = None;
            for (number, (_, submission)) in life.given.iter().enumerate() {
                let Some(place) = places.remove(&submission.to_string()) else {
                    if number < accepted {
                        return Err(format!("accepted, but not in the log: {submission}"));
                    }
                    missing.get_or_insert(submission);
                    continue;
                };
                if let Some(missing) = missing {
                    return Err(format!(
                        "`{submission}` is in the log, and not `{missing}` before"
                    ));
                }
                if newest.is_some_and(|newest| place < newest) {
                    return Err(format!("before an earlier one of its client: {submission}"));
                }
                newest = Some(place);
                if number < accepted {
                    stage.tally.accepted += 1;
                } else {
                    stage.tally.unconfirmed += 1;
                }
            }
        }
    }
    if let Some(stranger) = places.keys().next() {
        return Err(format!("in the log, but nobody submitted it: {stranger}"));
    }
    stage.tally.messages += log.messages;
    stage.tally.sessions += log.sessions;
    if let Some(work) = stage.plan.work {
        work.check(stage, &log)?;
    }
    nothing_left(stage)
}

fn nothing_left(stage: &Stage<'_>) -> Result<(), String> {
    let Stage { sandbox, plan, .. } = stage;
    let objects = objects_that_stay(&sandbox.dir());
    if !objects.is_empty() {
        return Err(format!("IPC objects are left: {objects:?}"));
    }
    let processes = sandbox.processes();
    if !processes.is_empty() {
        return Err(format!("processes are left: {processes:?}"));
    }
    let entries = std::fs::read_dir(sandbox.dir()).map_err(|error| error.to_string())?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    // Letters stay; and a file without any, where a worker was killed before it wrote the first.
    let stays = |name: &OsString| name == "sistem.log" || plan.work.is_some() && name == dead::NAME;
    match names.into_iter().find(|name| !stays(name)) {
        Some(name) => Err(format!("a file is left: {}", name.display())),
        None => Ok(()),
    }
}
