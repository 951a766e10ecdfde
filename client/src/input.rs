//! Submissions from standard input, a line each, in batches of what is there.

use std::io::{BufRead, BufReader, Read};

use common::error::Error;
use common::submission::{SUBMISSION_LINE_LEN_MAX, Submission, SubmissionError};

/// Reads lines; a bad one is reported with its number and left out.
pub(crate) struct Input<R> {
    reader: BufReader<R>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The line was longer than any submission, so its rest is skipped.
    too_long: bool,
    line_number: u64,
    accepted: u64,
    refused: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            partial: Vec::new(),
            too_long: false,
            line_number: 0,
            accepted: 0,
            refused: 0,
        }
    }

    /// Lines that were submissions.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Lines that were not.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Waits for input, and replaces `batch` by the submissions of all lines that have come.
    /// Returns false at the end of the input.
    pub(crate) fn read_batch(&mut self, batch: &mut Vec<Submission>) -> Result<bool, Error> {
        batch.clear();
        let chunk = loop {
            match self.reader.fill_buf() {
                Ok(chunk) => break chunk.to_vec(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::System { what: "standard input", source }),
            }
        };
        self.reader.consume(chunk.len());
        for part in chunk.split_inclusive(|&byte| byte == b'\n') {
            if self.partial.len() + part.len() > SUBMISSION_LINE_LEN_MAX {
                self.too_long = true;
                self.partial.clear();
            } else if !self.too_long {
                self.partial.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.line(batch);
            }
        }
        if chunk.is_empty() && (self.too_long || !self.line_so_far().is_empty()) {
            self.line(batch); // the last line has no newline
        }
        Ok(!chunk.is_empty() || !batch.is_empty())
    }

    /// Without the byte order mark that PowerShell and Notepad put before the first line.
    fn line_so_far(&self) -> &[u8] {
        let mark = if self.line_number == 0 { "\u{feff}" } else { "" };
        self.partial.strip_prefix(mark.as_bytes()).unwrap_or(&self.partial)
    }

    fn line(&mut self, batch: &mut Vec<Submission>) {
        let parsed = if self.too_long {
            Err(SubmissionError::LineTooLong)
        } else {
            Submission::parse(self.line_so_far())
        };
        self.line_number += 1;
        match parsed {
            Ok(submission) => {
                self.accepted += 1;
                batch.push(submission);
            }
            Err(error) => {
                self.refused += 1;
                common::tell!("client: line {}: {error}; left out", self.line_number);
            }
        }
        self.partial.clear();
        self.too_long = false;
    }
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
        let mut input = Input::new(Trickle(bytes, step));
        let (mut batch, mut all) = (Vec::new(), Vec::new());
        while input.read_batch(&mut batch).unwrap() {
            all.extend(batch.iter().map(ToString::to_string));
        }
        (all, input.refused())
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
