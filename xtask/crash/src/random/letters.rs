//! Dead letters of a round, and the exit code that follows from them.

use std::collections::{HashMap, HashSet};

use common::dead::{self, Letter};
use tests::Sandbox;

use super::log::read_lines;
use super::plan::RoundPlan;

/// One for each dead message, the first: a message that is dead twice would not be. Half a line is none.
pub(super) fn letters(sandbox: &Sandbox) -> Result<HashMap<(String, u32), Letter>, String> {
    let text = std::fs::read_to_string(sandbox.dir().join(dead::NAME)).unwrap_or_default();
    let mut letters = HashMap::new();
    for line in text.lines() {
        if let Ok(letter) = serde_json::from_str::<Letter>(line) {
            letters.entry((letter.text.clone(), letter.index)).or_insert(letter);
        } else if !line.is_empty() && line.ends_with('}') {
            return Err(format!("not a letter: {line}"));
        }
    }
    Ok(letters)
}

/// Whether a balancer that found so many sessions in the log ended with the right code, 0 or 1.
pub(super) fn check_exit_code(
    sandbox: &Sandbox,
    plan: &RoundPlan,
    code: i32,
    sessions: u64,
) -> Result<(), String> {
    let log = read_lines(sandbox, plan)?.log;
    let dead: HashSet<String> = letters(sandbox)?.into_keys().map(|(text, _)| text).collect();
    let has_dead = |session: u64| {
        let end = |session: Option<u64>| session.map_or(0, |session| log.ends[session as usize]);
        let submissions = &log.submissions[end(session.checked_sub(1))..end(Some(session))];
        submissions.iter().any(|submission| dead.contains(submission.text()))
    };
    // The first of its sessions may have been ended by workers and forgotten by a client before it looked.
    let (first, last) = (sessions, log.sessions);
    let may = (first.saturating_sub(1)..last).any(has_dead);
    let must = if plan.serve {
        (first + 1..last).any(has_dead)
    } else {
        last > first && has_dead(last - 1)
    };
    match code {
        0 if must => Err("it ended with 0, and a message is dead".to_owned()),
        1 if !may => Err("it ended with 1, and no message is dead".to_owned()),
        _ => Ok(()),
    }
}
