//! The log's lines, forwards and backwards, and the half one at its end. Whatever the file holds: a line
//! longer than any of ours is refused as soon as that is certain, and an aborting signal is heeded.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::error::{Error, heed_signals};
use crate::grammar::line::LEN_MAX;

/// Bytes read at once; more than a line has.
const CHUNK: usize = 64 << 10;

/// Hands out the lines from one place to another: where each begins, and the line without its `\n`.
pub(super) fn forward(
    file: &File,
    start: u64,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = BufReader::with_capacity(CHUNK, file);
    reader.seek(SeekFrom::Start(start)).map_err(Error::Log)?;
    let (mut at, mut line) = (start, Vec::new());
    while at < end {
        heed_signals()?;
        line.clear();
        let mut some = reader.by_ref().take(LEN_MAX as u64 + 1);
        some.read_until(b'\n', &mut line).map_err(Error::Log)?;
        match line.strip_suffix(b"\n") {
            Some(line) => each(at, line)?,
            None if line.len() > LEN_MAX => return Err(too_long(&format!("line at byte {at}"))),
            None => return Err(Error::Log(ErrorKind::UnexpectedEof.into())),
        }
        at += line.len() as u64;
    }
    Ok(())
}

/// Hands out the lines before a place where one ends, the last one first, as long as `each` wants more.
pub(super) fn backward(
    file: &File,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    // Where in the file the buffer begins, and how many bytes of it are not handed out yet.
    let (mut start, mut len) = (end, 0);
    while start > 0 || len > 0 {
        heed_signals()?;
        // The longest line, its own `\n`, and that of the line before it.
        if len < LEN_MAX + 2 && start > 0 {
            let before = usize::try_from(start).unwrap_or(usize::MAX).min(CHUNK - len);
            buffer.copy_within(..len, before);
            start -= before as u64;
            len += before;
            file.read_exact_at(&mut buffer[..before], start).map_err(Error::Log)?;
        }
        let line = &buffer[..len - 1];
        let at = memchr::memrchr(b'\n', line).map_or(0, |i| i + 1);
        if line.len() - at > LEN_MAX {
            return Err(too_long(&format!("line that ends at byte {}", start + len as u64)));
        }
        if !each(start + at as u64, &line[at..]) {
            return Ok(());
        }
        len = at;
    }
    Ok(())
}

/// What is after the last `\n` of a log of `len` bytes.
pub(super) fn half(file: &File, len: u64) -> Result<Vec<u8>, Error> {
    let start = len.saturating_sub(LEN_MAX as u64 + 1);
    let mut end = vec![0; (len - start) as usize];
    file.read_exact_at(&mut end, start).map_err(Error::Log)?;
    let half = end.split_off(memchr::memrchr(b'\n', &end).map_or(0, |i| i + 1));
    if half.len() > LEN_MAX { Err(too_long("half line at the end")) } else { Ok(half) }
}

fn too_long(what: &str) -> Error {
    Error::LogUnreadable { why: format!("the {what} is longer than any of this log's") }
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
        let mut read = Vec::new();
        forward(&file(contents), 0, contents.len() as u64, |at, line| {
            read.push((at, line.to_vec()));
            Ok(())
        })?;
        Ok(read)
    }

    fn backwards(contents: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut read = Vec::new();
        backward(&file(contents), contents.len() as u64, |at, line| {
            read.push((at, line.to_vec()));
            true
        })?;
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
            let half_of = |len| {
                let contents = &contents(len)[..before.len() + len];
                half(&file(contents), contents.len() as u64)
            };
            assert_eq!(half_of(LEN_MAX).unwrap().len(), LEN_MAX);
            assert_eq!(half_of(0).unwrap(), b"");
            assert!(half_of(LEN_MAX + 1).is_err() && half_of(3 * CHUNK).is_err());
        }
    }
}
