//! What must be true when a schedule is over, judged without the code that is judged: from the log's lines, and from the
//! entries.

use std::collections::{BTreeMap, BTreeSet};

use common::grammar::line::Line;
use common::grammar::rotation::Workers;
use common::history::replay::Replay;
use serde_json::Value;

use crate::engine::Entry;
use crate::entry::Subject;

use super::facts::Facts;

pub(super) fn judge(facts: &Facts, entries: &[Entry], workers: Workers) -> Result<(), String> {
    if let Some(wrong) = facts.wrong.first() {
        return Err(wrong.clone());
    }
    let (log, dead) = &facts.logs[0];
    if facts.logs.iter().any(|other| (&other.0, &other.1) != (log, dead)) {
        return Err("the hosts' files differ".to_owned());
    }
    let mut replay = Replay::new(Some(workers));
    let mut messages = 0;
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").ok_or("the last line has no end")?;
        let ended = replay
            .push(line)
            .map_err(|fault| format!("line `{}`: {fault}", String::from_utf8_lossy(line)))?;
        messages += ended.map_or(0, |summary| summary.messages);
    }
    let unfinished = replay.finish().map_err(|fault| fault.to_string())?;
    if unfinished.is_some() && !facts.accepted.is_empty() {
        return Err("the session has not ended".to_owned());
    }
    let mut logged: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut text = "";
    for line in log.split(|&byte| byte == b'\n').filter_map(Line::parse_bytes) {
        match line {
            Line::Client { text: its } => text = its,
            Line::Count { count } => logged.entry(text).or_default().push(count),
            _ => {}
        }
    }
    for (text, count) in &facts.accepted {
        if logged.remove(&**text) != Some(vec![*count]) {
            return Err(format!("{text};{count} was accepted, and is not in the log exactly once"));
        }
    }
    for (text, counts) in logged {
        if facts.unknown.get(text).is_none_or(|&count| counts != [count]) {
            return Err(format!("{text} {counts:?} is in the log, and was not submitted so"));
        }
    }
    one_holder(entries)?;
    let done: BTreeSet<_> = facts.executed.iter().map(|(name, _)| name).collect();
    if (done.len() as u64) < messages {
        return Err(format!("{messages} messages are logged, and {} were executed", done.len()));
    }
    letters(facts, dead, entries)
}

/// Of each number: generations ascend by one, within one there is one holder, and only he counts.
fn one_holder(entries: &[Entry]) -> Result<(), String> {
    let mut known: BTreeMap<String, (u64, Value, Value, u64)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| matches!(entry.subject, Subject::Run(_))) {
        let run: Value = serde_json::from_slice(&entry.payload).map_err(|why| why.to_string())?;
        let number = |name: &str| run[name].as_u64().ok_or("a number is missing");
        let (generation, executed) = (number("generation")?, number("executed")?);
        let subject = entry.subject.to_string();
        let before = known.get(&subject).cloned().unwrap_or((0, Value::Null, Value::Null, 0));
        let (holder, session) = (run["holder"].clone(), run["session"].clone());
        let is_next = generation == before.0 + 1;
        let is_same = generation == before.0 && holder == before.1 && !holder.is_null();
        let counts_back = session == before.2 && executed < before.3;
        let takes_and_counts = is_next && session == before.2 && executed != before.3;
        if !(is_next || is_same) || counts_back || takes_and_counts {
            return Err(format!("entry {} has no right to be there: {run}", entry.sequence));
        }
        known.insert(subject, (generation, holder, session, executed));
    }
    Ok(())
}

/// Each message has one letter at most, and only one that was given up has any. Whoever takes its number after that does
/// not execute it; one who had it before may not know of the letter.
fn letters(facts: &Facts, dead: &[u8], entries: &[Entry]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for line in dead.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let letter: common::dead::Letter =
            serde_json::from_slice(line).map_err(|why| why.to_string())?;
        let name = (letter.id.session, letter.id.message);
        if !seen.insert(name) || !facts.given_up.contains(&name) {
            return Err(format!("{} has a letter too many", letter.id));
        }
        let is_it = |entry: &&Entry| {
            let is_letter = matches!(entry.subject, Subject::Dead(_));
            is_letter && String::from_utf8_lossy(&entry.payload).contains(&letter.id.to_string())
        };
        let written = entries.iter().filter(is_it).map(|entry| entry.sequence).max();
        let late = facts.executed.range((name, written.unwrap_or(u64::MAX))..=(name, u64::MAX));
        if late.count() > 0 {
            return Err(format!("{} is executed by whoever came after its letter", letter.id));
        }
    }
    Ok(())
}
