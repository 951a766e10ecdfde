//! What COMMAND answers.

use common::grammar::submission::is_forbidden;

use crate::hand::{Answer, Ended};

/// So much of a reason is kept.
const REASON_LEN: usize = 1024;

/// What it says of the oldest message that it has.
pub(super) enum Said {
    Alive,
    Ended(Ended),
}

/// Reads a line that is to be about the message of this number; `prefix` is what its ID begins with.
pub(super) fn read(line: &[u8], prefix: &[u8], number: u64) -> Option<Said> {
    let (id, answer) = split(line.strip_prefix(prefix)?)?;
    if !is_number(id, number) {
        return None;
    }
    let (verb, reason) = split(answer).unwrap_or((answer, b""));
    let kind = match verb {
        b"ok" if reason.is_empty() => Answer::Ok,
        b"retry" => Answer::Retry,
        b"dead" => Answer::Dead,
        b"alive" if reason.is_empty() => return Some(Said::Alive),
        _ => return None,
    };
    Some(Said::Ended(Ended::Answer(kind, shown(reason))))
}

/// Bytes of a COMMAND's, fit for a terminal.
pub(super) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(REASON_LEN)];
    let fit = |c: char| if is_forbidden(c) { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(cut).chars().map(fit).collect()
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == b'\t')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn is_number(digits: &[u8], number: u64) -> bool {
    let is_plain = !digits.starts_with(b"+") && !digits.starts_with(b"0");
    is_plain && str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) == Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("7-12\tok", Some("ok"))]
    #[case("7-12\tretry", Some("retry"))]
    #[case("7-12\tretry\tnot\tyet", Some("retry: not\u{fffd}yet"))]
    #[case("7-12\tdead\t\u{202e}x", Some("dead: \u{fffd}x"))]
    #[case("7-12\talive", Some("alive"))]
    #[case("7-12\tok\tx", None)]
    #[case("7-12\talive\tx", None)]
    #[case("7-12 ok", None)]
    #[case("7-12\tok\r", None)]
    #[case("7-012\tok", None)]
    #[case("7-+12\tok", None)]
    #[case("7-13\tok", None)]
    #[case("8-12\tok", None)]
    #[case("7-12", None)]
    #[case("", None)]
    fn only_an_answer_to_the_question_is_one(#[case] line: &str, #[case] said: Option<&str>) {
        let read = read(line.as_bytes(), b"7-", 12).map(|said| match said {
            Said::Alive => "alive".to_owned(),
            Said::Ended(ended) => ended.to_string(),
        });
        assert_eq!(read.as_deref(), said);
    }
}
