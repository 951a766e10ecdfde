//! Submissions from standard input, a line each, in batches of what is there.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use common::error::{Error, exit};
use common::submission::{SUBMISSION_LINE_LEN_MAX, Submission, SubmissionError};

/// Reads lines; a bad one is reported with its number and left out.
pub(crate) struct Input<R> {
    reader: BufReader<R>,
    lines: u64,
    refused: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, reader), lines: 0, refused: 0 }
    }

    /// What became of all lines.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.refused {
            0 => 0,
            all if all == self.lines => exit::USAGE,
            _ => exit::PARTLY,
        }
    }

    /// Waits for a line, and appends the submissions of all lines that have come to `batch`.
    /// Returns false at the end of the input.
    pub(crate) fn read_batch(&mut self, batch: &mut VecDeque<Submission>) -> Result<bool, Error> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.read_line(&mut line).map_err(Error::system("standard input"))?;
            // The byte order mark that PowerShell and Notepad put before the first line.
            let mark = if self.lines == 0 { "\u{feff}" } else { "" };
            let text = line.strip_prefix(mark.as_bytes()).unwrap_or(&line);
            if text.is_empty() {
                return Ok(false);
            }
            let parsed = match line.len() {
                ..=SUBMISSION_LINE_LEN_MAX => Submission::parse(text),
                _ => Err(SubmissionError::LineTooLong),
            };
            self.lines += 1;
            match parsed {
                Ok(submission) => batch.push_back(submission),
                Err(error) => {
                    self.refused += 1;
                    common::tell!("client: line {}: {error}; left out", self.lines);
                }
            }
            if !self.reader.buffer().contains(&b'\n') {
                return Ok(true);
            }
        }
    }

    /// Reads a line with its end. Of one that is longer than any submission the rest is skipped.
    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let most = SUBMISSION_LINE_LEN_MAX as u64 + 1;
        self.reader.by_ref().take(most).read_until(b'\n', line)?;
        if line.len() > SUBMISSION_LINE_LEN_MAX && !line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        Ok(())
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
        let (mut batch, mut all) = (VecDeque::new(), Vec::new());
        while input.read_batch(&mut batch).unwrap() {
            all.extend(batch.drain(..).map(|submission| submission.to_string()));
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
