//! What a log must hold: written down from the README alone, and checked with the product's replay.

use std::fmt::Write as _;

use common::grammar::line::Line;
use common::grammar::rotation::Workers;
use common::grammar::submission::Submission;
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
    sessions_of(log, None)
}

/// The same, for so many workers.
pub fn sessions_of(log: &[u8], workers: Option<Workers>) -> Result<Vec<Summary>, String> {
    let mut replay = Replay::new(workers);
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

/// Puts submissions together from the lines of a log, in the order of their acceptance.
#[derive(Debug, Default)]
pub struct Pairing {
    text: Option<String>,
}

impl Pairing {
    /// The next line of the log. Returns the submission that is whole with it.
    pub fn push(&mut self, line: Line<'_>) -> Option<Submission> {
        match line {
            Line::Client { text } => self.text = Some(text.to_owned()),
            Line::Count { count } => {
                let text = self.text.take()?;
                return Submission::new(text.as_bytes(), count).ok().map(Submission::to_owned);
            }
            _ => {}
        }
        None
    }
}

/// The submissions of which both lines are in a log, as `TEXT;COUNT`.
#[must_use]
pub fn submissions(log: &str) -> Vec<String> {
    let mut pairing = Pairing::default();
    let whole = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let submissions = whole.filter_map(|line| pairing.push(Line::parse(line)?));
    submissions.map(|submission| submission.to_string()).collect()
}

/// Where a text is not another one, if it is not.
#[must_use]
pub fn difference(found: &str, expected: &str) -> Option<String> {
    if found == expected {
        return None;
    }
    let same = found.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(same).map(|line| format!("`{line}`"));
    Some(match [found, expected].map(line) {
        [None, None] => "it differs in its line ends".to_owned(),
        lines => {
            let [found, expected] = lines.map(|line| line.unwrap_or_else(|| "the end".to_owned()));
            format!("line {} is {found} instead of {expected}", same + 1)
        }
    })
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

    #[test]
    fn only_whole_submissions_count() {
        let log =
            "Message from client: a\nMessage count: 3\nMessage from client: b\nMessage count: 1";
        assert_eq!(submissions(log), ["a;3"]);
    }

    #[test]
    fn differences_are_named() {
        let difference = |found, expected| difference(found, expected).unwrap_or_default();
        assert_eq!(difference("a\nb\n", "a\nc\n"), "line 2 is `b` instead of `c`");
        assert_eq!(difference("a\n", "a\nc\n"), "line 2 is the end instead of `c`");
        assert_eq!(difference("a", "a\n"), "it differs in its line ends");
        assert_eq!(difference("a", "a"), "");
    }
}
