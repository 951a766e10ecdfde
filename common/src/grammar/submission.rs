//! What a client submits: `TEXT;COUNT`. The grammar, its limits, and why a line was refused.

use std::fmt;
use std::str::FromStr;

use super::number::append_number;

/// Longest text of a message, in bytes of UTF-8.
pub const TEXT_LEN_MAX: usize = 4096;
/// Most messages in one submission.
pub const COUNT_MAX: u32 = 1_000_000_000;
/// Longest line that can still be a submission: text, `;`, a count with room for leading zeros, CR LF.
pub const SUBMISSION_LINE_LEN_MAX: usize = TEXT_LEN_MAX + 64;

/// A text, and how many messages are to carry it. Holding one means that every rule below was met: a
/// `Submission<&str>` is a view of bytes that were checked, and need not be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission<T = String> {
    text: T,
    count: u32,
}

/// Why a line is not a submission. Positions are byte offsets from the line's start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// No `;` anywhere.
    #[error("no `;` in it; write TEXT;COUNT, like `Halo A;10`")]
    NoSeparator,
    /// Nothing comes before the last `;`.
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
    /// Nothing comes after the last `;`, where the count should begin.
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

impl<'a> Submission<&'a str> {
    /// A submission from its parts, as they come out of shared memory or a log: checked like input.
    pub fn new(text: &'a [u8], count: u32) -> Result<Self, SubmissionError> {
        let text = check_text(text)?;
        Ok(Self { count: check_count(count, text.len() + 1)?, text })
    }

    /// Parses one line of input; a trailing `\n` or `\r\n` is not part of it.
    pub fn parse(line: &'a [u8]) -> Result<Self, SubmissionError> {
        let line = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        let at = last_separator(line)
            .ok_or_else(|| utf8(line).err().unwrap_or(SubmissionError::NoSeparator))?;
        let text = check_text(&line[..at])?;
        Ok(Self { count: parse_count(&line[at + 1..], at + 1)?, text })
    }

    /// The same for a line of [printable](is_printable) characters, without its end.
    #[inline]
    pub fn parse_printable(line: &'a str) -> Result<Self, SubmissionError> {
        let at = last_separator(line.as_bytes()).ok_or(SubmissionError::NoSeparator)?;
        let (text, count) = (&line[..at], &line.as_bytes()[at + 1..]);
        check_len(text.len())?;
        Ok(Self { count: parse_count(count, at + 1)?, text })
    }

    /// One whose parts were checked.
    pub(crate) fn of_checked(text: &'a str, count: u32) -> Self {
        Self { text, count }
    }

    /// The same, with a text of its own.
    #[must_use]
    pub fn to_owned(self) -> Submission {
        Submission { text: self.text.to_owned(), count: self.count }
    }
}

impl<T: AsRef<str>> Submission<T> {
    /// The text that each message carries.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.as_ref()
    }

    /// How many messages carry it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// A view of it.
    #[must_use]
    pub fn as_view(&self) -> Submission<&str> {
        Submission { text: self.text(), count: self.count }
    }

    /// Appends it as `TEXT;COUNT`.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.text().as_bytes());
        bytes.push(b';');
        append_number(bytes, self.count.into());
    }
}

/// Whether these are printable characters of ASCII, or `\n`: in most input nothing else is, and to see it of many lines
/// at once takes a tenth of the time.
#[must_use]
pub fn is_printable(bytes: &[u8]) -> bool {
    let is_it = |byte: u8| byte.wrapping_sub(b' ') <= b'~' - b' ' || byte == b'\n';
    // Without a way out inside of a chunk it is looked at 16 bytes at a time, or more.
    bytes.chunks(256).all(|chunk| chunk.iter().fold(true, |all, &byte| all & is_it(byte)))
}

/// The rules for a text.
pub(crate) fn check_text(text: &[u8]) -> Result<&str, SubmissionError> {
    check_len(text.len())?;
    check_characters(text)
}

fn check_len(text_len: usize) -> Result<(), SubmissionError> {
    match text_len {
        0 => Err(SubmissionError::TextEmpty),
        1..=TEXT_LEN_MAX => Ok(()),
        len => Err(SubmissionError::TextTooLong(len)),
    }
}

/// The rules for what is in a text, or in several.
pub(crate) fn check_characters(text: &[u8]) -> Result<&str, SubmissionError> {
    let text = utf8(text)?;
    // Most texts need no look at their characters.
    if is_printable(text.as_bytes()) && memchr::memchr(b'\n', text.as_bytes()).is_none() {
        return Ok(text);
    }
    match text.char_indices().find(|&(_, c)| is_forbidden(c)) {
        Some((at, found)) => Err(SubmissionError::Forbidden(at, found)),
        None => Ok(text),
    }
}

/// The last `;` separates, so that the text may hold `;` itself. It is near the end.
fn last_separator(line: &[u8]) -> Option<usize> {
    line.iter().rposition(|&byte| byte == b';')
}

fn utf8(bytes: &[u8]) -> Result<&str, SubmissionError> {
    std::str::from_utf8(bytes).map_err(|e| SubmissionError::NotUtf8(e.valid_up_to()))
}

#[inline]
fn parse_count(digits: &[u8], at: usize) -> Result<u32, SubmissionError> {
    match digits {
        [] => return Err(SubmissionError::CountEmpty(at)),
        // Of nearly all lines in a file of many.
        [digit @ b'1'..=b'9'] => return Ok((digit - b'0').into()),
        _ => {}
    }
    let mut count = 0_u32;
    for (i, byte) in digits.iter().enumerate() {
        if !byte.is_ascii_digit() {
            let found = String::from_utf8_lossy(&digits[i..]).chars().next().unwrap_or_default();
            return Err(SubmissionError::CountNotDigits(at + i, found));
        }
        count = count.saturating_mul(10).saturating_add((byte - b'0').into());
    }
    check_count(count, at)
}

fn check_count(count: u32, at: usize) -> Result<u32, SubmissionError> {
    let in_range = Some(count).filter(|count| (1..=COUNT_MAX).contains(count));
    in_range.ok_or(SubmissionError::CountOutOfRange(at))
}

impl FromStr for Submission {
    type Err = SubmissionError;

    fn from_str(line: &str) -> Result<Self, SubmissionError> {
        Submission::parse(line.as_bytes()).map(Submission::to_owned)
    }
}

impl<T: AsRef<str>> fmt::Display for Submission<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.text(), self.count)
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
        /// Two ways to read a line, for most and for all: they say the same of it.
        #[test]
        fn a_printable_line_is_judged_as_any_other(line in "[ -~]{0,40}|[a;0-9 ]{0,12}|a;[0-9]{1,12}") {
            prop_assert!(is_printable(line.as_bytes()));
            prop_assert_eq!(Submission::parse_printable(&line), Submission::parse(line.as_bytes()));
        }

        #[test]
        fn printable_is_what_is_one_byte_and_may_be_in_a_text(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let is_it = |&byte: &u8| byte == b'\n' || byte.is_ascii() && !is_forbidden(byte.into());
            prop_assert_eq!(is_printable(&bytes), bytes.iter().all(is_it));
            let printable: Vec<u8> = bytes.into_iter().filter(is_it).collect();
            prop_assert!(is_printable(&printable));
        }

        #[test]
        fn what_is_displayed_parses_back(text in "[^\\p{Cc}\u{2028}\u{2029}\u{202A}-\u{202E}\u{2066}-\u{2069}]{1,200}",
                                         count in 1..=COUNT_MAX) {
            let submission = Submission::new(text.as_bytes(), count).unwrap();
            prop_assert_eq!(submission.to_string().parse(), Ok(submission.to_owned()));
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(submission) = Submission::parse(&line) {
                prop_assert!(Submission::new(submission.text().as_bytes(), submission.count()).is_ok());
            }
        }
    }
}
