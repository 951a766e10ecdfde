//! The log of a round, read.

use common::grammar::line::Line;
use common::grammar::rotation::Workers;
use common::grammar::submission::Submission;
use common::history::replay::Replay;
use tests::Sandbox;
use tests::oracle::Pairing;

use super::plan::RoundPlan;

/// What a log of whole sessions holds.
pub(crate) struct Log {
    pub(crate) submissions: Vec<Submission>,
    pub(crate) messages: u64,
    pub(crate) sessions: u64,
    /// How many submissions there were when each session ended.
    pub(super) ends: Vec<usize>,
}

/// Reads the log: canonical order, rotation and totals, and no session unfinished.
pub(crate) fn read_log(sandbox: &Sandbox, plan: &RoundPlan) -> Result<Log, String> {
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
pub(crate) fn read_lines(sandbox: &Sandbox, plan: &RoundPlan) -> Result<Read, String> {
    let bytes = std::fs::read(sandbox.log_path()).unwrap_or_default();
    let mut replay = Replay::new(Workers::new(plan.workers).ok());
    let mut log = Log { submissions: Vec::new(), messages: 0, sessions: 0, ends: Vec::new() };
    let mut pairing = Pairing::default();
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else {
            return Ok(Read { log, replay, is_torn: true });
        };
        let ended =
            replay.push(line).map_err(|fault| format!("sistem.log:{}: {fault}", number + 1))?;
        if let Some(summary) = ended {
            log.messages += summary.messages;
            log.sessions += 1;
            log.ends.push(log.submissions.len());
        }
        log.submissions.extend(Line::parse_bytes(line).and_then(|line| pairing.push(line)));
    }
    Ok(Read { log, replay, is_torn: false })
}
