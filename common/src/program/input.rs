//! Submissions from standard input, a line each, in batches of what is there.

use std::io::{ErrorKind, Read};
use std::ops::Range;

use crate::error::{Error, exit};
use crate::grammar::submission::{
    SUBMISSION_LINE_LEN_MAX, Submission, SubmissionError, is_printable,
};

/// As much as a pipe holds, and some thousand short lines.
const BUFFER_LEN: usize = 64 << 10;

const _: () = assert!(BUFFER_LEN > SUBMISSION_LINE_LEN_MAX);

/// The byte order mark that PowerShell and Notepad put before the first line.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads lines; a bad one is reported with its number and left out.
pub struct Input<R> {
    reader: R,
    buffer: Box<[u8]>,
    /// What was read, and not handed out.
    unread: Range<usize>,
    /// The rest of a line that is too long comes next.
    skips: bool,
    lines: u64,
    refused: u64,
}

impl<R: Read> Input<R> {
    /// From the beginning of an input.
    pub fn new(reader: R) -> Self {
        let buffer = vec![0; BUFFER_LEN].into();
        Self { reader, buffer, unread: 0..0, skips: false, lines: 0, refused: 0 }
    }

    /// What became of all lines.
    pub fn exit_code(&self) -> u8 {
        match self.refused {
            0 => 0,
            all if all == self.lines => exit::USAGE,
            _ => exit::PARTLY,
        }
    }

    /// Waits for a line, and returns the submissions of all whole lines that have come. Nothing at the end of the
    /// input.
    pub fn read_batch(&mut self) -> Result<Option<Vec<Submission<&str>>>, Error> {
        let mut ended = false;
        let end = loop {
            let unread = &self.buffer[self.unread.clone()];
            match memchr::memrchr(b'\n', unread) {
                Some(at) => break self.unread.start + at + 1,
                None if ended => break self.unread.end,
                None if unread.len() > SUBMISSION_LINE_LEN_MAX => self.skip(),
                None => {}
            }
            ended = !self.read()?;
        };
        let (start, is_first) = (self.unread.start, self.lines == 0);
        self.unread.start = end;
        let mut bytes = &self.buffer[start..end];
        if is_first {
            bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let printable = str::from_utf8(bytes).ok().filter(|_| is_printable(bytes));
        let mut submissions = Vec::with_capacity(memchr::memchr_iter(b'\n', bytes).count() + 1);
        let mut start = 0;
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |len| start + len);
            self.lines += 1;
            let parsed = match printable {
                _ if end - start >= SUBMISSION_LINE_LEN_MAX => Err(SubmissionError::LineTooLong),
                Some(text) => Submission::parse_printable(&text[start..end]),
                // With its end, of which there are two kinds.
                None => Submission::parse(&bytes[start..bytes.len().min(end + 1)]),
            };
            match parsed {
                Ok(submission) => submissions.push(submission),
                Err(error) => refuse(self.lines, &mut self.refused, &error),
            }
            start = end + 1;
        }
        Ok(Some(submissions))
    }

    /// Reads on, after what is there. Returns false at the end of the input.
    fn read(&mut self) -> Result<bool, Error> {
        let Range { start, end } = self.unread;
        self.buffer.copy_within(start..end, 0);
        self.unread = 0..end - start;
        let len = loop {
            match self.reader.read(&mut self.buffer[self.unread.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(Error::system("standard input"))?,
            }
        };
        self.unread.end += len;
        if self.skips {
            let line_end = memchr::memchr(b'\n', &self.buffer[self.unread.clone()]);
            self.skips = line_end.is_none();
            self.unread.start = line_end.map_or(self.unread.end, |at| at + 1);
        }
        Ok(len > 0)
    }

    /// What is there begins a line that is longer than any submission.
    fn skip(&mut self) {
        self.lines += 1;
        refuse(self.lines, &mut self.refused, &SubmissionError::LineTooLong);
        self.unread = 0..0;
        self.skips = true;
    }
}

fn refuse(line: u64, refused: &mut u64, error: &SubmissionError) {
    *refused += 1;
    crate::tell!("client: line {line}: {error}; left out");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn all(bytes: &[u8], step: usize) -> (Vec<String>, u64) {
        let (mut input, mut all) = (Input::new(Trickle(bytes, step)), Vec::new());
        while let Some(batch) = input.read_batch().unwrap() {
            all.extend(batch.iter().map(ToString::to_string));
        }
        (all, input.refused)
    }

    #[test]
    fn lines_are_found_wherever_reads_cut_them() {
        let long = "x".repeat(2 * SUBMISSION_LINE_LEN_MAX);
        let bytes = format!("\u{feff}a;1\r\n\n{long}\nb;c;2\nbad\nlast;3");
        for step in [1, 2, 3, 7, 100, 100_000] {
            assert_eq!(all("\u{feff}".as_bytes(), step), (Vec::new(), 0), "step {step}: nothing");
            let (submissions, refused) = all(bytes.as_bytes(), step);
            assert_eq!(submissions, ["a;1", "b;c;2", "last;3"], "step {step}");
            assert_eq!(refused, 3, "step {step}: the empty, the long and the bad line");
        }
    }
}
