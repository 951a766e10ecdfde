//! What the messages carry: all the same text, or each a text of its own, a line of a file.
//!
//! The texts of a file differ in their last six bytes, which are the number of the line to the base of 36; before
//! that comes what fills them up. Their lengths take turns.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;

/// What texts are filled up with.
const FILLER: &str = "Halo A, Halo B, Halo C; ";
/// Bytes of the number in a text.
const NUMBER_LEN: usize = 6;
const BASE: u32 = 36;

/// How many bytes a text has: so many at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lens {
    pub(super) min: usize,
    pub(super) max: usize,
}

impl Lens {
    pub(super) const fn exactly(len: usize) -> Self {
        Self { min: len, max: len }
    }

    /// Whether a file can have lines with texts of these lengths.
    pub(super) fn have_numbers(self) -> bool {
        self.min >= NUMBER_LEN
    }

    /// Of the text of a line.
    fn of(self, line: u32) -> usize {
        self.min + line as usize % self.different()
    }

    fn different(self) -> usize {
        self.max - self.min + 1
    }

    /// Of the texts of the first lines together.
    pub(super) fn sum(self, lines: u32) -> u64 {
        let turn: usize = (self.min..=self.max).sum();
        let (turns, rest) = (lines as usize / self.different(), lines as usize % self.different());
        let rest: usize = (self.min..self.min + rest).sum();
        (turns * turn + rest) as u64
    }
}

/// `6`, or `6-12`.
impl fmt::Display for Lens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.max)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

impl FromStr for Lens {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (min.parse(), max.parse()) {
            (Ok(min), Ok(max)) if min <= max => Ok(Self { min, max }),
            _ => Err(()),
        }
    }
}

/// A text that many messages carry: `Halo A`, and so on to the length.
pub(super) fn repeated(len: usize) -> String {
    FILLER.chars().cycle().take(len).collect()
}

/// The texts of a file of lines.
pub(super) struct Texts {
    lens: Lens,
    filler: Vec<u8>,
}

impl Texts {
    pub(super) fn new(lens: Lens) -> Self {
        Self { lens, filler: repeated(lens.max).into_bytes() }
    }

    /// Appends the text of a line, counted from 0.
    pub(super) fn append(&self, bytes: &mut Vec<u8>, line: u32) {
        let filler = self.lens.of(line) - NUMBER_LEN;
        bytes.extend_from_slice(&self.filler[..filler]);
        let digits = (0..NUMBER_LEN as u32).rev().map(|place| line / BASE.pow(place) % BASE);
        bytes.extend(digits.filter_map(|digit| char::from_digit(digit, BASE)).map(|c| c as u8));
    }

    /// Appends the line itself.
    pub(super) fn append_submission(&self, bytes: &mut Vec<u8>, line: u32) {
        self.append(bytes, line);
        bytes.extend_from_slice(b";1\n");
    }

    /// Which line's text this is, if it is one.
    pub(super) fn line(&self, text: &[u8]) -> Option<u32> {
        let (filler, digits) = text.split_at_checked(text.len().checked_sub(NUMBER_LEN)?)?;
        let is_digit = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        let digits = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(is_digit))?;
        let line = u32::from_str_radix(digits, BASE).ok()?;
        let is_it = text.len() == self.lens.of(line) && self.filler.starts_with(filler);
        is_it.then_some(line)
    }

    /// A file with these lines, each a submission of one message, to be read from the start.
    pub(super) fn file(&self, lines: Range<u32>) -> io::Result<File> {
        let mut writer = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
        let mut submission = Vec::new();
        for line in lines {
            submission.clear();
            self.append_submission(&mut submission, line);
            writer.write_all(&submission)?;
        }
        let mut file = writer.into_inner()?;
        file.rewind()?;
        Ok(file)
    }
}

/// So many lines in as many parts of the same length, or nearly, as there are clients.
pub(super) fn parts(lines: u32, clients: u32) -> impl Iterator<Item = Range<u32>> {
    let (lines, clients) = (u64::from(lines), u64::from(clients));
    // Not above `lines`, which was a u32.
    let begin = move |client| (lines * client / clients) as u32;
    (0..clients).map(move |client| begin(client)..begin(client + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_tells_its_line() {
        for lens in [Lens { min: 6, max: 12 }, Lens::exactly(64)] {
            let texts = Texts::new(lens);
            let mut sum = 0;
            for line in (0..1_000).chain([9_999_999]) {
                let mut text = Vec::new();
                texts.append(&mut text, line);
                assert_eq!(texts.line(&text), Some(line), "{}", String::from_utf8_lossy(&text));
                assert_eq!(sum, lens.sum(line.min(1_000)), "{line}");
                sum += text.len() as u64;
            }
        }
    }

    #[test]
    fn other_texts_are_told_from_them() {
        let texts = Texts::new(Lens { min: 6, max: 12 });
        for text in ["", "00000", "000001", "H000000", "x000001", "H00000A", "H00000é"] {
            assert_eq!(texts.line(text.as_bytes()), None, "{text}");
        }
        assert_eq!(texts.line(b"H000001"), Some(1));
    }

    #[test]
    fn parts_follow_each_other() {
        assert_eq!(parts(10, 3).collect::<Vec<_>>(), [0..3, 3..6, 6..10]);
        assert_eq!(parts(10_000_000, 1).last(), Some(0..10_000_000));
    }
}
