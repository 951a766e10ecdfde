//! What is measured: how many messages, of which text, for how many workers, submitted how; and what
//! its log must come to.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use common::line::Line;
use common::rotation::Workers;
use serde::Serialize;

/// How the messages are submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// One submission of many messages, as the client's argument.
    Many,
    /// Submissions of one message each, on one client's standard input.
    Singles,
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) messages: u32,
    pub(super) text_len: usize,
    pub(super) workers: Workers,
    pub(super) shape: Shape,
}

impl Case {
    /// One submission of many.
    pub(super) fn many(messages: u32, text_len: usize, workers: Workers) -> Self {
        Self { messages, text_len, workers, shape: Shape::Many }
    }

    /// What each message carries: `Halo A`, and so on to the length.
    pub(super) fn text(&self) -> String {
        "Halo A, Halo B, Halo C; ".chars().cycle().take(self.text_len).collect()
    }

    /// Exact length of the log of its session, and so of any rearrangement of the log's lines.
    pub(super) fn log_len(&self) -> u64 {
        let text = self.text();
        let (submissions, count) = match self.shape {
            Shape::Many => (1, self.messages),
            Shape::Singles => (u64::from(self.messages), 1),
        };
        let client = len(Line::Client { text: &text }) + len(Line::Count { count });
        let count = u64::from(count);
        let received =
            count * (len(Line::Received { text: &text, index: 1 }) - 1) + digits_up_to(count);
        let messages = u64::from(self.messages);
        let by_worker = |worker| {
            let share = self.workers.share(worker, messages);
            share * len(Line::Executed { worker }) + len(Line::Total { worker, messages: share })
        };
        submissions * (client + received) + self.workers.ids().map(by_worker).sum::<u64>()
    }
}

/// Bytes of a line, its end included.
pub(super) fn len(line: Line<'_>) -> u64 {
    line.to_string().len() as u64 + 1
}

/// Digits of all numbers from 1 to `last`: one for each of them, one more from 10 on, …
fn digits_up_to(last: u64) -> u64 {
    let powers = std::iter::successors(Some(1u64), |power| power.checked_mul(10));
    powers.take_while(|&power| power <= last).map(|power| last - power + 1).sum()
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let singles = if self.shape == Shape::Singles { ", singles" } else { "" };
        let (count, len, n) = (count(self.messages), self.text_len, self.workers.get());
        write!(f, "{count} × {len} B, N = {n}{singles}")
    }
}

/// A number of messages, as a power of ten where it is one.
pub(super) fn count(messages: u32) -> String {
    const SUPERSCRIPT: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let exponent = messages.checked_ilog10().unwrap_or_default();
    if messages >= 1000 && 10u32.checked_pow(exponent) == Some(messages) {
        format!("10{}", SUPERSCRIPT[exponent as usize])
    } else {
        messages.to_string()
    }
}

/// `MESSAGESxBYTESxN`, as in `10000000x6x3`; with `xsingles` behind it: submissions of one.
impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (numbers, shape) = match text.strip_suffix("xsingles") {
            Some(numbers) => (numbers, Shape::Singles),
            None => (text, Shape::Many),
        };
        let usage = || "write MESSAGESxBYTESxN, like 1000000x6x3 or 100000x6x3xsingles".to_owned();
        let [messages, text_len, workers] =
            <[&str; 3]>::try_from(numbers.split('x').collect::<Vec<_>>()).map_err(|_| usage())?;
        let case = Self {
            messages: messages.parse().map_err(|_| usage())?,
            text_len: text_len.parse().map_err(|_| usage())?,
            workers: workers.parse().map_err(|_| usage())?,
            shape,
        };
        let submission = common::submission::Submission::new(case.text().as_bytes(), case.messages);
        submission.map(|_| case).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_sample() {
        let sample = include_str!("../../../tests/tests/sample.log");
        let case: Case = "10x6x3".parse().unwrap();
        assert_eq!(case.text(), "Halo A");
        assert_eq!(case.log_len(), sample.len() as u64);
    }

    #[test]
    fn digits_are_counted_over_a_carry() {
        let written = |last: u64| (1..=last).map(|i| i.to_string().len() as u64).sum::<u64>();
        for last in [0, 1, 9, 10, 11, 99, 100, 12_345] {
            assert_eq!(digits_up_to(last), written(last), "{last}");
        }
    }

    #[test]
    fn a_case_is_read_as_it_is_documented() {
        let case: Case = "1000x64x16xsingles".parse().unwrap();
        assert_eq!(case.to_string(), "10³ × 64 B, N = 16, singles");
        assert!("10x6".parse::<Case>().is_err());
        assert!("0x6x3".parse::<Case>().is_err(), "a submission has at least one message");
    }
}
