//! What a log must hold: written down from the README alone, and checked with the product's replay.

use std::fmt::Write as _;

use common::grammar::line::Line;
use common::history::replay::{Replay, Summary};

/// The log of submissions that were all accepted before the first was processed. For a single one
/// this is the log, whenever it came.
#[must_use]
pub fn canonical_log(submissions: &[(&str, u32)], workers: u32) -> String {
    let mut log = String::new();
    let mut shares = vec![0_u64; workers as usize];
    let mut turn = (1..=workers).cycle();
    for (text, count) in submissions {
        let _ = write!(log, "Message from client: {text}\nMessage count: {count}\n");
    }
    for (text, count) in submissions {
        for index in 1..=*count {
            let _ = writeln!(log, "Received at lb: {text} (#message {index})");
        }
        for worker in turn.by_ref().take(*count as usize) {
            let _ = writeln!(log, "Worker{worker}: message received");
            shares[worker as usize - 1] += 1;
        }
    }
    for (worker, messages) in (1..).zip(shares) {
        let _ = writeln!(log, "Worker {worker}: {messages} messages");
    }
    log
}

/// Checks every line of a log of whole sessions. Returns what each session came to, or the first
/// line that is wrong.
pub fn sessions(log: &[u8]) -> Result<Vec<Summary>, String> {
    let mut replay = Replay::new(None);
    let mut sessions = Vec::new();
    let lines = match log.strip_suffix(b"\n") {
        Some(lines) => lines,
        None if log.is_empty() => return Ok(sessions),
        None => return Err("the last line has no end".to_owned()),
    };
    for (number, line) in (1..).zip(lines.split(|&byte| byte == b'\n')) {
        let ended = replay.push(line).map_err(|fault| {
            format!("line {number}: `{}`: {fault}", String::from_utf8_lossy(line))
        })?;
        sessions.extend(ended);
    }
    sessions.extend(replay.finish().map_err(|fault| fault.to_string())?);
    Ok(sessions)
}

/// The submissions that a log tells of, in the order of their acceptance, as `TEXT;COUNT`.
#[must_use]
pub fn submissions(log: &str) -> Vec<String> {
    let mut client_text = "";
    let mut submissions = Vec::new();
    for line in log.lines() {
        match Line::parse(line) {
            Some(Line::Client { text }) => client_text = text,
            Some(Line::Count { count }) => submissions.push(format!("{client_text};{count}")),
            _ => {}
        }
    }
    submissions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_canonical_log() {
        let log = canonical_log(&[("Halo A", 10)], 3);
        assert_eq!(log, include_str!("../tests/sample.log"));
    }

    #[test]
    fn two_sessions_are_told_apart() {
        let log = canonical_log(&[("a", 2), ("b;c", 5)], 3) + &canonical_log(&[("d", 1)], 1);
        let shares: Vec<_> =
            sessions(log.as_bytes()).unwrap().into_iter().map(|s| s.shares).collect();
        assert_eq!(shares, [vec![3, 2, 2], vec![1]]);
        assert_eq!(submissions(&log), ["a;2", "b;c;5", "d;1"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let log = canonical_log(&[("a", 2)], 2).replace("Worker 2: 1", "Worker 2: 2");
        assert!(sessions(log.as_bytes()).unwrap_err().starts_with("line 8: `Worker 2: 2 messages"));
    }

    #[test]
    fn an_unfinished_session_is_an_error() {
        let log = canonical_log(&[("a", 4)], 2);
        for lines in 1..10 {
            let cut = log.match_indices('\n').nth(lines - 1).unwrap().0 + 1;
            assert_eq!(sessions(&log.as_bytes()[..cut]).is_ok(), cut == log.len(), "{lines} lines");
        }
    }
}
