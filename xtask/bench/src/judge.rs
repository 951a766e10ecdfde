//! Judges a log after the clock has stopped: nothing counts as fast that is not right.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use common::line::Line;
use common::replay::{Replay, Summary};

use super::case::{Case, Shape};
use super::failure::Failure;

/// The log must be one session, complete and in canonical order, with this case's messages in it.
pub(super) fn canonical(log: &Path, case: &Case) -> Result<(), Failure> {
    let mut replay = Replay::new(Some(case.workers));
    let mut summary = None;
    let text = case.text();
    let client = Line::Client { text: &text }.to_string().into_bytes();
    let begins_client = &client[..client.len() - text.len()];
    each_line(log, case, |line| {
        if line.starts_with(begins_client) && line != client {
            return Err("this is not the text that was submitted".to_owned());
        }
        if summary.is_some() {
            return Err("the session has ended".to_owned());
        }
        summary = replay.push(line).map_err(|fault| fault.to_string())?;
        Ok(())
    })?;
    replay.finish().map_err(|fault| wrong(case, fault.to_string()))?;
    let messages = u64::from(case.messages);
    let due = Summary {
        submissions: if case.shape == Shape::Many { 1 } else { messages },
        messages,
        shares: case.workers.ids().map(|k| case.workers.share(k, messages)).collect(),
    };
    match summary {
        Some(found) if found == due => Ok(()),
        found => Err(wrong(case, format!("it came to {found:?}, not {due:?}"))),
    }
}

/// For a program that keeps no order between workers: every line once, `Received` in order.
pub(super) fn complete(log: &Path, case: &Case) -> Result<(), Failure> {
    let text = case.text();
    let mut received = 0;
    let mut executed = vec![0u64; case.workers.get() as usize];
    each_line(log, case, |line| {
        let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        match Line::parse(line).ok_or("none of the five kinds of line")? {
            Line::Received { text: found, index } if found == text && index == received + 1 => {
                received = index;
            }
            Line::Executed { worker } if worker.index() < executed.len() => {
                executed[worker.index()] += 1;
            }
            Line::Client { text: found } if found == text => {}
            Line::Count { count } if count == case.messages => {}
            Line::Total { worker, messages }
                if messages == case.workers.share(worker, u64::from(case.messages)) => {}
            _ => return Err("unexpected".to_owned()),
        }
        Ok(())
    })?;
    let due: Vec<u64> =
        case.workers.ids().map(|k| case.workers.share(k, u64::from(case.messages))).collect();
    if received == case.messages && executed == due {
        return Ok(());
    }
    Err(wrong(case, format!("{received} received, {executed:?} executed")))
}

/// Hands over each line, given without its `\n`; all of them together must have the right length.
fn each_line(
    log: &Path,
    case: &Case,
    mut judge: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), Failure> {
    let file = File::open(log).map_err(Failure::system(log.display().to_string()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    let (mut number, mut len) = (0u64, 0u64);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(Failure::system("sistem.log"))?;
        if read == 0 {
            break;
        }
        number += 1;
        len += read as u64;
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(wrong(case, format!("line {number} is cut off")));
        };
        judge(line).map_err(|why| {
            let line = String::from_utf8_lossy(line);
            wrong(case, format!("line {number}, `{line}`: {why}"))
        })?;
    }
    match case.log_len() {
        due if due == len => Ok(()),
        due => Err(wrong(case, format!("it has {len} bytes, not {due}"))),
    }
}

fn wrong(case: &Case, why: String) -> Failure {
    Failure::Wrong { case: case.to_string(), why }
}
