//! What the log must be in the end.

use common::grammar::line::Line;
use common::grammar::rotation::Workers;
use common::history::replay::Replay;

use super::scenario::Scenario;

/// Knows it for one scenario.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// For one client: the bytes of an undisturbed run.
    exact: Option<String>,
    workers: Option<Workers>,
    submissions: Vec<String>,
}

impl Oracle {
    /// From the log of an undisturbed run, which must be right itself.
    pub(crate) fn new(scenario: &Scenario, undisturbed: &str) -> Result<Self, String> {
        let mut submissions: Vec<String> =
            scenario.submissions().map(ToString::to_string).collect();
        submissions.sort();
        let workers = Workers::new(scenario.workers).ok();
        let mut oracle = Self { exact: None, workers, submissions };
        oracle.judge(undisturbed)?;
        oracle.exact = (scenario.clients.len() == 1).then(|| undisturbed.to_owned());
        Ok(oracle)
    }

    /// Every submission exactly once, all in canonical order to the last total; and for one client
    /// byte for byte.
    pub(crate) fn judge(&self, log: &str) -> Result<(), String> {
        if let Some(exact) = &self.exact {
            return if log == exact { Ok(()) } else { Err(difference(log, exact)) };
        }
        let mut replay = Replay::new(self.workers);
        for (i, line) in log.split_inclusive('\n').enumerate() {
            let whole = line.strip_suffix('\n').ok_or("the log ends in the middle of a line")?;
            replay
                .push(whole.as_bytes())
                .map_err(|fault| format!("line {} of the log, `{whole}`: {fault}", i + 1))?;
        }
        replay.finish().map_err(|fault| format!("the log's end: {fault}"))?;
        let mut found = submissions(log);
        found.sort();
        if found == self.submissions {
            Ok(())
        } else {
            Err(format!("submissions {found:?} instead of {:?}", self.submissions))
        }
    }
}

/// The submissions of which both lines stand in a log.
pub(crate) fn submissions(log: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut last = None;
    for line in log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match Line::parse(line) {
            Some(Line::Client { text }) => last = Some(text),
            Some(Line::Count { count }) => {
                found.extend(last.take().map(|text| format!("{text};{count}")));
            }
            _ => {}
        }
    }
    found
}

fn difference(log: &str, exact: &str) -> String {
    let (mut found, mut expected) = (log.lines(), exact.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (found.next(), expected.next()) {
            (a, b) if a == b && a.is_some() => {}
            (None, None) => return "the log differs in its line ends".to_owned(),
            (a, b) => {
                let show = |line: Option<&str>| {
                    line.map_or_else(|| "the end".to_owned(), |line| format!("`{line}`"))
                };
                return format!("line {number} of the log is {} instead of {}", show(a), show(b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        assert_eq!(difference("a\nb\n", "a\nc\n"), "line 2 of the log is `b` instead of `c`");
        assert_eq!(difference("a\n", "a\nc\n"), "line 2 of the log is the end instead of `c`");
        assert_eq!(difference("a", "a\n"), "the log differs in its line ends");
    }

    #[test]
    fn only_whole_submissions_count() {
        let log =
            "Message from client: a\nMessage count: 3\nMessage from client: b\nMessage count: 1";
        assert_eq!(submissions(log), ["a;3"]);
    }
}
