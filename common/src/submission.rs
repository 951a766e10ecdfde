//! What a client submits: `TEXT;COUNT`. The grammar, its limits, and why a line was refused.

use std::fmt;
use std::str::FromStr;

/// Longest text of a message, in bytes of UTF-8.
pub const TEXT_LEN_MAX: usize = 4096;
/// Most messages in one submission.
pub const COUNT_MAX: u32 = 1_000_000_000;
/// Longest line that can still be a submission: text, `;`, a count with room for leading zeros, CR LF.
pub const SUBMISSION_LINE_LEN_MAX: usize = TEXT_LEN_MAX + 64;

/// A text, and how many messages are to carry it. Holding one means that every rule below was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    text: String,
    count: u32,
}

/// Why a line is not a submission. Positions are byte offsets from the line's start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// No `;` anywhere.
    #[error("no `;` in it; write TEXT;COUNT, like `Halo A;10`")]
    NoSeparator,
    /// Nothing stands before the last `;`.
    #[error("the text before `;` is empty")]
    TextEmpty,
    /// The text is longer than [`TEXT_LEN_MAX`].
    #[error("the text has {len} bytes; at most {TEXT_LEN_MAX} are allowed")]
    TextTooLong {
        /// Bytes found.
        len: usize,
    },
    /// The line is longer than any submission can be, so it was not even kept.
    #[error(
        "the line has more than {SUBMISSION_LINE_LEN_MAX} bytes; a text has at most {TEXT_LEN_MAX}"
    )]
    LineTooLong,
    /// The line is not UTF-8.
    #[error("byte {at} is not valid UTF-8")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// A character that would forge a log line, or reach a terminal as a command.
    #[error("byte {at} begins {}, which a text must not hold", describe(*.found))]
    Forbidden {
        /// Offset of its first byte.
        at: usize,
        /// The character.
        found: char,
    },
    /// Nothing stands behind the last `;`.
    #[error("the count behind `;` at byte {at} is missing")]
    CountEmpty {
        /// Where it should begin.
        at: usize,
    },
    /// The count has something else than ASCII digits in it.
    #[error("the count must be digits only, but byte {at} is {found:?}")]
    CountNotDigits {
        /// Offset of the first character that is no digit.
        at: usize,
        /// That character.
        found: char,
    },
    /// The count is 0 or more than [`COUNT_MAX`].
    #[error("the count at byte {at} is out of range; it must be 1 to {COUNT_MAX}")]
    CountOutOfRange {
        /// Where the count begins.
        at: usize,
    },
}

/// Names a forbidden character without printing it.
fn describe(c: char) -> String {
    let kind = match c {
        '\u{2028}' | '\u{2029}' => "a line or paragraph separator",
        c if c.is_control() => "a control character",
        _ => "a bidirectional control",
    };
    format!("{kind} (U+{:04X})", u32::from(c))
}

/// Control characters (C0, DEL, C1) forge lines and drive terminals; the separators do so in some
/// viewers; bidi controls make a line read as another one.
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl Submission {
    /// A submission from its parts, as they come out of shared memory or a log: checked like input.
    pub fn new(text: &[u8], count: u32) -> Result<Self, SubmissionError> {
        let text = check_text(text)?;
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(SubmissionError::CountOutOfRange { at: text.len() + 1 });
        }
        Ok(Self { text: text.to_owned(), count })
    }

    /// Parses one line of input; a trailing `\n` or `\r\n` is not part of it.
    pub fn parse(line: &[u8]) -> Result<Self, SubmissionError> {
        let line = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        // The last `;` separates, so that the text may hold `;` itself.
        let at = memchr::memrchr(b';', line).ok_or_else(|| match std::str::from_utf8(line) {
            Err(e) => SubmissionError::NotUtf8 { at: e.valid_up_to() },
            Ok(_) => SubmissionError::NoSeparator,
        })?;
        let text = check_text(&line[..at])?;
        let count = parse_count(&line[at + 1..], at + 1)?;
        Ok(Self { text: text.to_owned(), count })
    }

    /// The text that each message carries.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many messages carry it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// The rules for a text.
pub(crate) fn check_text(text: &[u8]) -> Result<&str, SubmissionError> {
    if text.is_empty() {
        return Err(SubmissionError::TextEmpty);
    }
    if text.len() > TEXT_LEN_MAX {
        return Err(SubmissionError::TextTooLong { len: text.len() });
    }
    let text =
        std::str::from_utf8(text).map_err(|e| SubmissionError::NotUtf8 { at: e.valid_up_to() })?;
    match text.char_indices().find(|&(_, c)| is_forbidden(c)) {
        Some((at, found)) => Err(SubmissionError::Forbidden { at, found }),
        None => Ok(text),
    }
}

fn parse_count(digits: &[u8], at: usize) -> Result<u32, SubmissionError> {
    if digits.is_empty() {
        return Err(SubmissionError::CountEmpty { at });
    }
    if let Some(i) = digits.iter().position(|b| !b.is_ascii_digit()) {
        // The bytes before `i` are ASCII, so the lossy rest begins at a character.
        let found = String::from_utf8_lossy(&digits[i..]).chars().next().unwrap_or('?');
        return Err(SubmissionError::CountNotDigits { at: at + i, found });
    }
    let value = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u32>().ok());
    value
        .filter(|count| (1..=COUNT_MAX).contains(count))
        .ok_or(SubmissionError::CountOutOfRange { at })
}

impl FromStr for Submission {
    type Err = SubmissionError;

    fn from_str(line: &str) -> Result<Self, SubmissionError> {
        Self::parse(line.as_bytes())
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.text, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("Halo A;10", "Halo A", 10)]
    #[case::semicolon_in_text("a;b;3", "a;b", 3)]
    #[case::newline("a;1\n", "a", 1)]
    #[case::crlf("a;1\r\n", "a", 1)]
    #[case::leading_zeros("a;007", "a", 7)]
    #[case::count_max("a;1000000000", "a", COUNT_MAX)]
    #[case::spaces_are_text(" a ;1", " a ", 1)]
    #[case::unicode("héllo ☃;2", "héllo ☃", 2)]
    fn accepts(#[case] line: &str, #[case] text: &str, #[case] count: u32) {
        let got: Submission = line.parse().unwrap();
        assert_eq!((got.text(), got.count()), (text, count));
    }

    #[rstest]
    #[case::empty(b"", SubmissionError::NoSeparator)]
    #[case::no_separator(b"Halo A", SubmissionError::NoSeparator)]
    #[case::text_empty(b";1", SubmissionError::TextEmpty)]
    #[case::count_empty(b"a;", SubmissionError::CountEmpty { at: 2 })]
    #[case::count_zero(b"a;0", SubmissionError::CountOutOfRange { at: 2 })]
    #[case::count_above(b"a;1000000001", SubmissionError::CountOutOfRange { at: 2 })]
    #[case::count_huge(b"a;99999999999999999999999", SubmissionError::CountOutOfRange { at: 2 })]
    #[case::sign(b"a;+1", SubmissionError::CountNotDigits { at: 2, found: '+' })]
    #[case::minus(b"a;-1", SubmissionError::CountNotDigits { at: 2, found: '-' })]
    #[case::space(b"a; 1", SubmissionError::CountNotDigits { at: 2, found: ' ' })]
    #[case::arabic_digit("a;1٣".as_bytes(), SubmissionError::CountNotDigits { at: 3, found: '٣' })]
    #[case::newline_inside(b"a\nb;1", SubmissionError::Forbidden { at: 1, found: '\n' })]
    #[case::second_newline(b"a;1\n\n", SubmissionError::CountNotDigits { at: 3, found: '\n' })]
    #[case::escape(b"ab\x1b[1m;1", SubmissionError::Forbidden { at: 2, found: '\x1b' })]
    #[case::del(b"a\x7f;1", SubmissionError::Forbidden { at: 1, found: '\x7f' })]
    #[case::c1("a\u{85};1".as_bytes(), SubmissionError::Forbidden { at: 1, found: '\u{85}' })]
    #[case::line_separator("\u{2028};1".as_bytes(), SubmissionError::Forbidden { at: 0, found: '\u{2028}' })]
    #[case::bidi("é\u{202e};1".as_bytes(), SubmissionError::Forbidden { at: 2, found: '\u{202e}' })]
    #[case::isolate("\u{2069};1".as_bytes(), SubmissionError::Forbidden { at: 0, found: '\u{2069}' })]
    #[case::not_utf8(b"ab\xff;1", SubmissionError::NotUtf8 { at: 2 })]
    fn refuses(#[case] line: &[u8], #[case] error: SubmissionError) {
        assert_eq!(Submission::parse(line), Err(error));
    }

    #[test]
    fn text_length_is_bounded_to_the_byte() {
        let longest = "é".repeat(TEXT_LEN_MAX / 2);
        assert!(Submission::parse(format!("{longest};1").as_bytes()).is_ok());
        assert_eq!(
            Submission::parse(format!("{longest}x;1").as_bytes()),
            Err(SubmissionError::TextTooLong { len: TEXT_LEN_MAX + 1 })
        );
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_back(text in "[^\\p{Cc}\u{2028}\u{2029}\u{202A}-\u{202E}\u{2066}-\u{2069}]{1,200}",
                                         count in 1..=COUNT_MAX) {
            let submission = Submission::new(text.as_bytes(), count).unwrap();
            prop_assert_eq!(submission.to_string().parse::<Submission>().unwrap(), submission);
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(submission) = Submission::parse(&line) {
                prop_assert!(Submission::new(submission.text().as_bytes(), submission.count()).is_ok());
            }
        }
    }
}
