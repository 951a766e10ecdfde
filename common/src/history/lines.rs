//! The log's lines, forwards and backwards, and the half one at its end. Whatever the file holds: a line
//! longer than any of ours is refused as soon as that is certain, and an aborting signal is heeded.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::error::Error;
use crate::fence::signals;
use crate::line::LEN_MAX;

/// Bytes read at once; more than a line has.
const CHUNK: usize = 64 << 10;

/// Lines from one place to another.
pub(super) struct Lines<'a> {
    reader: BufReader<&'a File>,
    line: Vec<u8>,
    at: u64,
    end: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a File, start: u64, end: u64) -> Result<Self, Error> {
        let mut reader = BufReader::with_capacity(CHUNK, file);
        reader.seek(SeekFrom::Start(start)).map_err(Error::Log)?;
        Ok(Self { reader, line: Vec::new(), at: start, end })
    }

    /// Where the next line begins, and the line without its `\n`.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        heed_signals()?;
        let at = self.at;
        if at >= self.end {
            return Ok(None);
        }
        self.line.clear();
        let mut some = self.reader.by_ref().take(LEN_MAX as u64 + 1);
        self.at += some.read_until(b'\n', &mut self.line).map_err(Error::Log)? as u64;
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(Some((at, line))),
            None if self.line.len() > LEN_MAX => Err(too_long(&format!("line at byte {at}"))),
            None => Err(Error::Log(ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Lines before a place where one ends, the last one first.
pub(super) struct LinesBackward<'a> {
    file: &'a File,
    /// Where in the file the buffer begins.
    start: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer whose lines are not given out yet.
    len: usize,
}

impl<'a> LinesBackward<'a> {
    pub(super) fn new(file: &'a File, end: u64) -> Self {
        Self { file, start: end, buffer: vec![0; CHUNK], len: 0 }
    }

    /// Where the line before begins, and the line without its `\n`.
    pub(super) fn previous(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        heed_signals()?;
        let mut range = self.last_line();
        if range.is_none() {
            self.fill()?;
            range = self.last_line();
        }
        match range {
            Some((at, end)) if end - at <= LEN_MAX => {
                self.len = at;
                Ok(Some((self.start + at as u64, &self.buffer[at..end])))
            }
            None if self.len == 0 => Ok(None),
            _ => Err(too_long(&format!("line that ends at byte {}", self.start + self.len as u64))),
        }
    }

    fn last_line(&self) -> Option<(usize, usize)> {
        let line = self.buffer[..self.len].strip_suffix(b"\n")?;
        let at = memchr::memrchr(b'\n', line).map(|i| i + 1);
        at.or((self.start == 0).then_some(0)).map(|at| (at, line.len()))
    }

    /// Reads what is before the buffer, as much as it has room for.
    fn fill(&mut self) -> Result<(), Error> {
        let before = usize::try_from(self.start).unwrap_or(usize::MAX);
        let len = before.min(self.buffer.len() - self.len);
        self.buffer.copy_within(..self.len, len);
        self.start -= len as u64;
        self.len += len;
        self.file.read_exact_at(&mut self.buffer[..len], self.start).map_err(Error::Log)
    }
}

/// What is behind the last `\n` of a log of `len` bytes.
pub(super) fn half_line(file: &File, len: u64) -> Result<Vec<u8>, Error> {
    let start = len.saturating_sub(LEN_MAX as u64 + 1);
    let mut end = vec![0; (len - start) as usize];
    file.read_exact_at(&mut end, start).map_err(Error::Log)?;
    match memchr::memrchr(b'\n', &end) {
        Some(i) => Ok(end.split_off(i + 1)),
        None if end.len() > LEN_MAX => Err(too_long("half line at the end")),
        None => Ok(end),
    }
}

fn too_long(what: &str) -> Error {
    Error::LogUnreadable { why: format!("the {what} is longer than any of this log's") }
}

/// A long log takes a while, and nobody wants to wait for the end of that.
fn heed_signals() -> Result<(), Error> {
    signals::aborted_by().map_or(Ok(()), |signal| Err(Error::Aborted(signal)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(contents: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(contents, 0).unwrap();
        file
    }

    fn forwards(contents: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let file = file(contents);
        let mut lines = Lines::new(&file, 0, contents.len() as u64)?;
        let mut read = Vec::new();
        while let Some((at, line)) = lines.next()? {
            read.push((at, line.to_vec()));
        }
        Ok(read)
    }

    fn backwards(contents: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let file = file(contents);
        let mut lines = LinesBackward::new(&file, contents.len() as u64);
        let mut read = Vec::new();
        while let Some((at, line)) = lines.previous()? {
            read.push((at, line.to_vec()));
        }
        read.reverse();
        Ok(read)
    }

    proptest! {
        #[test]
        fn lines_are_found_wherever_chunks_cut_them(
            lens in proptest::collection::vec(prop_oneof![0..100usize, 0..=LEN_MAX], 0..60)) {
            let mut contents = Vec::new();
            let mut lines = Vec::new();
            for (i, len) in (0..).zip(lens) {
                lines.push((contents.len() as u64, vec![b'a' + i % 26; len]));
                contents.extend_from_slice(&lines.last().unwrap().1);
                contents.push(b'\n');
            }
            prop_assert_eq!(&forwards(&contents).unwrap(), &lines);
            prop_assert_eq!(&backwards(&contents).unwrap(), &lines);
        }
    }

    #[test]
    fn a_line_is_too_long_from_one_byte_on() {
        for before in ["", "before\n"] {
            let contents = |len| [before.as_bytes(), &vec![b'x'; len], b"\n"].concat();
            assert!(forwards(&contents(LEN_MAX)).is_ok());
            assert!(backwards(&contents(LEN_MAX)).is_ok());
            for len in [LEN_MAX + 1, CHUNK - 1, CHUNK, 3 * CHUNK] {
                let refused = [forwards(&contents(len)), backwards(&contents(len))];
                for refused in refused {
                    let error = refused.unwrap_err().to_string();
                    assert!(error.contains("is longer than any of this log's"), "{len}: {error}");
                }
            }
            let half = |len| {
                let contents = &contents(len)[..before.len() + len];
                half_line(&file(contents), contents.len() as u64)
            };
            assert_eq!(half(LEN_MAX).unwrap().len(), LEN_MAX);
            assert_eq!(half(0).unwrap(), b"");
            assert!(half(LEN_MAX + 1).is_err() && half(3 * CHUNK).is_err());
        }
    }
}
