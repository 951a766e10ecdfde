//! The log has five kinds of line, and this file alone knows how each is written and read. No other product file holds a
//! piece of a line's text.
//!
//! | line | written for |
//! |---|---|
//! | `Message from client: <text>` | a submission, first of two |
//! | `Message count: <count>` | the same submission, second of two |
//! | `Received at lb: <text> (#message <i>)` | message i of its submission, 1-based |
//! | `Worker<k>: message received` | a message that worker k executed |
//! | `Worker <k>: <n> messages` | worker k's total |

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::number::append_number;
use super::rotation::WorkerId;
use super::submission::{COUNT_MAX, Submission, TEXT_LEN_MAX, check_text};

/// One line of the log, without its `\n`. Texts are borrowed from what it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A submission's text.
    Client {
        /// What each of its messages carries.
        text: &'a str,
    },
    /// A submission's count.
    Count {
        /// How many messages it has.
        count: u32,
    },
    /// The balancer received a message.
    Received {
        /// What it carries.
        text: &'a str,
        /// Its number within the submission, from 1.
        index: u32,
    },
    /// A worker executed a message.
    Executed {
        /// Which worker.
        worker: WorkerId,
    },
    /// What a worker executed in the whole session.
    Total {
        /// Which worker.
        worker: WorkerId,
        /// How many messages.
        messages: u64,
    },
}

const CLIENT: &str = "Message from client: ";
const COUNT: &str = "Message count: ";
const RECEIVED: &str = "Received at lb: ";
const RECEIVED_INDEX: &str = " (#message ";
const RECEIVED_END: &str = ")";
const EXECUTED: &str = "Worker";
const EXECUTED_END: &str = ": message received";
const TOTAL: &str = "Worker ";
const TOTAL_MIDDLE: &str = ": ";
const TOTAL_END: &str = " messages";

/// The longest line, without its `\n`: a `Received` line of the longest text and the largest index.
pub const LEN_MAX: usize = RECEIVED.len()
    + TEXT_LEN_MAX
    + RECEIVED_INDEX.len()
    + (COUNT_MAX.ilog10() as usize + 1)
    + RECEIVED_END.len();

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        append(&mut bytes, *self);
        bytes.pop(); // its end
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

impl<'a> Line<'a> {
    /// Reads one line, as [`Self::parse`] does.
    #[must_use]
    pub fn parse_bytes(line: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(line).ok().and_then(Self::parse)
    }

    /// Reads one line, given without its `\n`. Only what [`Display`](fmt::Display) writes is a line:
    /// no other spacing, no leading zeros, no text that a client could not have submitted.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let valid = |text: &'a str| check_text(text.as_bytes()).ok();
        let id = |digits| WorkerId::new(number(digits, 1..=u32::MAX)?).ok();
        if let Some(text) = line.strip_prefix(CLIENT) {
            Some(Self::Client { text: valid(text)? })
        } else if let Some(count) = line.strip_prefix(COUNT) {
            Some(Self::Count { count: number(count, 1..=COUNT_MAX)? })
        } else if let Some(rest) = line.strip_prefix(RECEIVED) {
            // The last marker counts: the text may hold one itself.
            let (text, index) = rest.strip_suffix(RECEIVED_END)?.rsplit_once(RECEIVED_INDEX)?;
            Some(Self::Received { text: valid(text)?, index: number(index, 1..=COUNT_MAX)? })
        } else if let Some(rest) = line.strip_prefix(TOTAL) {
            let (worker, messages) = rest.strip_suffix(TOTAL_END)?.split_once(TOTAL_MIDDLE)?;
            Some(Self::Total { worker: id(worker)?, messages: number(messages, 0..=u64::MAX)? })
        } else {
            let worker = line.strip_prefix(EXECUTED)?.strip_suffix(EXECUTED_END)?;
            Some(Self::Executed { worker: id(worker)? })
        }
    }
}

fn number<T: FromStr + PartialOrd>(digits: &str, range: RangeInclusive<T>) -> Option<T> {
    // Besides digits, a number's parser takes a sign.
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|value| canonical && range.contains(value))
}

/// Whether a `Message from client` line may begin with these bytes.
#[must_use]
pub fn begins_client(fragment: &[u8]) -> bool {
    begins(CLIENT, fragment)
}

/// Whether a `Message count` line may begin with these bytes.
#[must_use]
pub fn begins_count(fragment: &[u8]) -> bool {
    begins(COUNT, fragment)
}

fn begins(form: &str, fragment: &[u8]) -> bool {
    form.as_bytes().starts_with(fragment) || fragment.starts_with(form.as_bytes())
}

/// Whether these bytes begin a total's line, judged quickly.
#[must_use]
pub fn is_total(line: &[u8]) -> bool {
    line.starts_with(TOTAL.as_bytes())
}

/// Appends a submission's two lines.
pub fn append_submission(bytes: &mut Vec<u8>, submission: &Submission<&str>) {
    append_client(bytes, submission.text());
    append_count(bytes, submission.count());
}

/// Appends one line and its `\n`.
pub fn append(bytes: &mut Vec<u8>, line: Line<'_>) {
    match line {
        Line::Client { text } => append_client(bytes, text),
        Line::Count { count } => append_count(bytes, count),
        Line::Received { text, index } => append_one_received(bytes, text.as_bytes(), index),
        Line::Executed { worker } => {
            bytes.extend_from_slice(EXECUTED.as_bytes());
            append_number(bytes, worker.get().into());
            bytes.extend_from_slice(EXECUTED_END.as_bytes());
            bytes.push(b'\n');
        }
        Line::Total { worker, messages } => {
            bytes.extend_from_slice(TOTAL.as_bytes());
            append_number(bytes, worker.get().into());
            bytes.extend_from_slice(TOTAL_MIDDLE.as_bytes());
            append_number(bytes, messages);
            bytes.extend_from_slice(TOTAL_END.as_bytes());
            bytes.push(b'\n');
        }
    }
}

#[inline]
fn append_client(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(CLIENT.as_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'\n');
}

#[inline]
fn append_count(bytes: &mut Vec<u8>, count: u32) {
    bytes.extend_from_slice(COUNT.as_bytes());
    append_number(bytes, count.into());
    bytes.push(b'\n');
}

/// Appends a `Received` line, of a text that was checked and is at hand as bytes.
pub(crate) fn append_one_received(bytes: &mut Vec<u8>, text: &[u8], index: u32) {
    bytes.extend_from_slice(RECEIVED.as_bytes());
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(RECEIVED_INDEX.as_bytes());
    append_number(bytes, index.into());
    bytes.extend_from_slice(RECEIVED_END.as_bytes());
    bytes.push(b'\n');
}

/// Bytes after the index of a `Received` line, `\n` included.
pub const BEHIND_INDEX_LEN: usize = RECEIVED_END.len() + 1;

/// Appends the `Received` lines of messages `first..=last`, as many as fit below `len_max` bytes but
/// at least one, and returns the index of the last one appended.
///
/// The index is counted in decimal, in place: each line is the one before it, copied, with its last
/// digits raised by one.
pub fn append_received(
    bytes: &mut Vec<u8>,
    text: &[u8],
    first: u32,
    last: u32,
    len_max: usize,
) -> u32 {
    let mut index = first;
    let mut line_start = bytes.len();
    append_one_received(bytes, text, index);
    // The next line may be one byte longer.
    while index < last && 2 * bytes.len() - line_start < len_max {
        index += 1;
        let previous = line_start;
        line_start = bytes.len();
        bytes.extend_from_within(previous..);
        let mut digit = bytes.len() - BEHIND_INDEX_LEN - 1;
        while bytes[digit] == b'9' {
            bytes[digit] = b'0';
            digit -= 1;
        }
        if bytes[digit].is_ascii_digit() {
            bytes[digit] += 1;
        } else {
            bytes.insert(digit + 1, b'1'); // one digit more than the line before it
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn worker(k: u32) -> WorkerId {
        WorkerId::new(k).unwrap()
    }

    #[rstest]
    #[case("Message from client: Halo A", Line::Client { text: "Halo A" })]
    #[case("Message count: 10", Line::Count { count: 10 })]
    #[case("Received at lb: Halo A (#message 1)", Line::Received { text: "Halo A", index: 1 })]
    #[case("Received at lb: a (#message 1) (#message 2)", Line::Received { text: "a (#message 1)", index: 2 })]
    #[case("Worker1: message received", Line::Executed { worker: worker(1) })]
    #[case("Worker 3: 0 messages", Line::Total { worker: worker(3), messages: 0 })]
    fn forms(#[case] text: &str, #[case] line: Line<'_>) {
        assert_eq!(line.to_string(), text);
        assert_eq!(Line::parse(text), Some(line));
    }

    #[rstest]
    #[case("")]
    #[case("Message from client: ")]
    #[case("Message count: 0")]
    #[case("Message count: 010")]
    #[case("Message count: 1000000001")]
    #[case("Received at lb: a (#message 0)")]
    #[case("Received at lb: a (#message 1) ")]
    #[case("Received at lb: a")]
    #[case("Worker 1: message received")]
    #[case("Worker1: 3 messages")]
    #[case("Worker 1: 1 message")]
    #[case("Worker0: message received")]
    #[case("Worker257: message received")]
    #[case("worker1: message received")]
    #[case(" Worker1: message received")]
    fn other_forms_are_refused(#[case] text: &str) {
        assert_eq!(Line::parse(text), None);
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC{0,60}") {
            if let Some(line) = Line::parse(&text) {
                prop_assert_eq!(line.to_string(), text);
            }
        }

        #[test]
        fn counted_lines_equal_formatted_ones(text in "[ -~]{1,40}", first in 1..=COUNT_MAX - 1200,
                                              count in 0..1200u32, len_max in 0..60_000usize) {
            let (mut counted, mut formatted) = (Vec::new(), Vec::new());
            let last = append_received(&mut counted, text.as_bytes(), first, first + count, len_max);
            for index in first..=last {
                append(&mut formatted, Line::Received { text: &text, index });
            }
            prop_assert_eq!(String::from_utf8(counted).unwrap(), String::from_utf8(formatted.clone()).unwrap());
            prop_assert!(last == first || formatted.len() <= len_max);
        }
    }

    #[test]
    fn counting_carries_into_a_new_digit() {
        let mut bytes = Vec::new();
        append_received(&mut bytes, b"x", 98, 101, usize::MAX);
        let lines: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().collect();
        assert_eq!(lines[2], "Received at lb: x (#message 100)");
        assert_eq!(lines.len(), 4);
    }
}
