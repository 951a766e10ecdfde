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
    /// The text is longer than [`TEXT_LEN_MAX`]: it has so many bytes.
    #[error("the text has {0} bytes; at most {TEXT_LEN_MAX} are allowed")]
    TextTooLong(usize),
    /// The line is longer than any submission can be, so it was not even kept.
    #[error(
        "the line has more than {SUBMISSION_LINE_LEN_MAX} bytes; a text has at most {TEXT_LEN_MAX}"
    )]
    LineTooLong,
    /// The line is not UTF-8, from this byte on.
    #[error("byte {0} is not valid UTF-8")]
    NotUtf8(usize),
    /// A character that would forge a log line, or reach a terminal as a command, and where.
    #[error("byte {0} begins {what}, which a text must not hold", what = describe(*.1))]
    Forbidden(usize, char),
    /// Nothing stands behind the last `;`, where the count should begin.
    #[error("the count behind `;` at byte {0} is missing")]
    CountEmpty(usize),
    /// The count has something else than ASCII digits in it: where first, and what.
    #[error("the count must be digits only, but byte {0} is {1:?}")]
    CountNotDigits(usize, char),
    /// The count, which begins there, is 0 or more than [`COUNT_MAX`].
    #[error("the count at byte {0} is out of range; it must be 1 to {COUNT_MAX}")]
    CountOutOfRange(usize),
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
#[must_use]
pub fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl Submission {
    /// A submission from its parts, as they come out of shared memory or a log: checked like input.
    pub fn new(text: &[u8], count: u32) -> Result<Self, SubmissionError> {
        let text = check_text(text)?.to_owned();
        Ok(Self { count: check_count(count, text.len() + 1)?, text })
    }

    /// Parses one line of input; a trailing `\n` or `\r\n` is not part of it.
    pub fn parse(line: &[u8]) -> Result<Self, SubmissionError> {
        let line = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        // The last `;` separates, so that the text may hold `;` itself.
        let at = memchr::memrchr(b';', line)
            .ok_or_else(|| utf8(line).err().unwrap_or(SubmissionError::NoSeparator))?;
        let text = check_text(&line[..at])?.to_owned();
        Ok(Self { count: parse_count(&line[at + 1..], at + 1)?, text })
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
        return Err(SubmissionError::TextTooLong(text.len()));
    }
    let text = utf8(text)?;
    match text.char_indices().find(|&(_, c)| is_forbidden(c)) {
        Some((at, found)) => Err(SubmissionError::Forbidden(at, found)),
        None => Ok(text),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, SubmissionError> {
    std::str::from_utf8(bytes).map_err(|e| SubmissionError::NotUtf8(e.valid_up_to()))
}

fn parse_count(digits: &[u8], at: usize) -> Result<u32, SubmissionError> {
    if digits.is_empty() {
        return Err(SubmissionError::CountEmpty(at));
    }
    let digits = String::from_utf8_lossy(digits);
    // The characters before the first one that is no digit are a byte each.
    if let Some((i, found)) = digits.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        return Err(SubmissionError::CountNotDigits(at + i, found));
    }
    check_count(digits.parse().unwrap_or(u32::MAX), at)
}

fn check_count(count: u32, at: usize) -> Result<u32, SubmissionError> {
    let in_range = Some(count).filter(|count| (1..=COUNT_MAX).contains(count));
    in_range.ok_or(SubmissionError::CountOutOfRange(at))
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
    #[case::count_empty(b"a;", SubmissionError::CountEmpty(2))]
    #[case::count_zero(b"a;0", SubmissionError::CountOutOfRange(2))]
    #[case::count_above(b"a;1000000001", SubmissionError::CountOutOfRange(2))]
    #[case::count_huge(b"a;99999999999999999999999", SubmissionError::CountOutOfRange(2))]
    #[case::sign(b"a;+1", SubmissionError::CountNotDigits(2, '+'))]
    #[case::minus(b"a;-1", SubmissionError::CountNotDigits(2, '-'))]
    #[case::space(b"a; 1", SubmissionError::CountNotDigits(2, ' '))]
    #[case::arabic_digit("a;1٣".as_bytes(), SubmissionError::CountNotDigits(3, '٣'))]
    #[case::newline_inside(b"a\nb;1", SubmissionError::Forbidden(1, '\n'))]
    #[case::second_newline(b"a;1\n\n", SubmissionError::CountNotDigits(3, '\n'))]
    #[case::escape(b"ab\x1b[1m;1", SubmissionError::Forbidden(2, '\x1b'))]
    #[case::del(b"a\x7f;1", SubmissionError::Forbidden(1, '\x7f'))]
    #[case::c1("a\u{85};1".as_bytes(), SubmissionError::Forbidden(1, '\u{85}'))]
    #[case::line_separator("\u{2028};1".as_bytes(), SubmissionError::Forbidden(0, '\u{2028}'))]
    #[case::bidi("é\u{202e};1".as_bytes(), SubmissionError::Forbidden(2, '\u{202e}'))]
    #[case::isolate("\u{2069};1".as_bytes(), SubmissionError::Forbidden(0, '\u{2069}'))]
    #[case::not_utf8(b"ab\xff;1", SubmissionError::NotUtf8(2))]
    fn refuses(#[case] line: &[u8], #[case] error: SubmissionError) {
        assert_eq!(Submission::parse(line), Err(error));
    }

    #[test]
    fn text_length_is_bounded_to_the_byte() {
        let longest = "é".repeat(TEXT_LEN_MAX / 2);
        assert!(Submission::parse(format!("{longest};1").as_bytes()).is_ok());
        assert_eq!(
            Submission::parse(format!("{longest}x;1").as_bytes()),
            Err(SubmissionError::TextTooLong(TEXT_LEN_MAX + 1))
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
