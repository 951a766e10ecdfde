//! What is measured: how many messages, of which text, for how many workers, submitted how; and what
//! its log must come to.

use std::fmt;
use std::str::FromStr;

use common::grammar::line::Line;
use common::grammar::rotation::{WorkerId, Workers};
use serde::Serialize;

use super::texts::{Lens, repeated};

/// How the messages are submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "shape", rename_all = "lowercase")]
pub(super) enum Shape {
    /// One submission of many messages, as the client's argument.
    Many,
    /// A file of lines, each with a text of its own and a submission of one message. So many clients read it on
    /// standard input at once, each its part of the lines.
    Lines { clients: u32 },
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) messages: u32,
    pub(super) lens: Lens,
    pub(super) workers: Workers,
    pub(super) shape: Shape,
}

impl Case {
    /// One submission of many.
    pub(super) fn many(messages: u32, text_len: usize, workers: Workers) -> Self {
        Self { messages, lens: Lens::exactly(text_len), workers, shape: Shape::Many }
    }

    /// A file of lines, and one client that reads it.
    pub(super) fn lines(messages: u32, lens: Lens, workers: Workers) -> Self {
        Self { messages, lens, workers, shape: Shape::Lines { clients: 1 } }
    }

    /// So many clients that read it at once.
    pub(super) fn by(self, clients: u32) -> Self {
        Self { shape: Shape::Lines { clients }, ..self }
    }

    /// Of numbers that may be too great or too small; nothing if this is no case at all.
    fn of_numbers(text: &str) -> Option<Self> {
        let (numbers, shape) = match text.split_once("xlines") {
            None => (text, Shape::Many),
            Some((numbers, "")) => (numbers, Shape::Lines { clients: 1 }),
            Some((numbers, clients)) => (numbers, Shape::Lines { clients: clients.parse().ok()? }),
        };
        let [messages, lens, workers] = numbers.split('x').collect::<Vec<_>>()[..] else {
            return None;
        };
        let (messages, workers) = (messages.parse().ok()?, workers.parse().ok()?);
        let lens: Lens = lens.parse().ok()?;
        let fits = shape != Shape::Many || lens.min == lens.max;
        fits.then_some(Self { messages, lens, workers, shape })
    }

    /// What each message carries, if all carry the same.
    pub(super) fn text(&self) -> String {
        repeated(self.lens.max)
    }

    pub(super) fn submissions(&self) -> u32 {
        if self.shape == Shape::Many { 1 } else { self.messages }
    }

    /// How many messages each worker gets.
    pub(super) fn shares(&self) -> impl Iterator<Item = (WorkerId, u64)> {
        let share = |worker| (worker, self.workers.share(worker, u64::from(self.messages)));
        self.workers.ids().map(share)
    }

    /// Exact length of the log of its session, and so of any rearrangement of the log's lines.
    pub(super) fn log_len(&self) -> u64 {
        let totals = self.shares().map(|(worker, messages)| len(Line::Total { worker, messages }));
        self.log_len_before_totals() + totals.sum::<u64>()
    }

    /// The same, as long as the session may go on.
    pub(super) fn log_len_before_totals(&self) -> u64 {
        let (submissions, count) = (self.submissions(), self.messages / self.submissions());
        let texts = self.lens.sum(submissions) * u64::from(1 + count);
        let client = len(Line::Client { text: "" }) + len(Line::Count { count });
        let (submissions, count) = (u64::from(submissions), u64::from(count));
        let received =
            count * (len(Line::Received { text: "", index: 1 }) - 1) + digits_up_to(count);
        let executed = self.shares().map(|(worker, share)| share * len(Line::Executed { worker }));
        texts + submissions * (client + received) + executed.sum::<u64>()
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
        let (count, lens, n) = (count(self.messages), self.lens, self.workers.get());
        write!(f, "{count} × {lens} B, N = {n}")?;
        match self.shape {
            Shape::Many => Ok(()),
            Shape::Lines { clients: 1 } => f.write_str(", lines"),
            Shape::Lines { clients } => write!(f, ", lines by {clients} clients"),
        }
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

/// `MESSAGESxBYTESxN`, as in `10000000x6x3`; with `xlines` after it it is a file of lines, with `xlines8` one that
/// 8 clients read.
impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let case = Self::of_numbers(text).ok_or(
            "write MESSAGESxBYTESxN, like 1000000x6x3, 1000000x6-12x3xlines or 1000000x6-12x3xlines8",
        )?;
        match case.shape {
            Shape::Lines { .. } if !case.lens.have_numbers() => {
                return Err("texts of lines differ by a number of 6 bytes in them".to_owned());
            }
            Shape::Lines { clients } if !(1..=case.messages).contains(&clients) => {
                return Err("each client needs a line".to_owned());
            }
            _ => {}
        }
        let text = case.text();
        let submission =
            common::grammar::submission::Submission::new(text.as_bytes(), case.messages);
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
        for (text, shown) in [
            ("1000x64x16", "10³ × 64 B, N = 16"),
            ("1000x6-12x3xlines", "10³ × 6-12 B, N = 3, lines"),
            ("1000x64x3xlines8", "10³ × 64 B, N = 3, lines by 8 clients"),
        ] {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), shown);
        }
        for text in ["10x6", "10x6-12x3", "10x12-6x3xlines", "10x5x3xlines", "10x6x3xlines0"] {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
        assert!("0x6x3".parse::<Case>().is_err(), "a submission has at least one message");
        assert!("7x6x3xlines8".parse::<Case>().is_err(), "a client has at least one line");
    }
}
