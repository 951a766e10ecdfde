//! A file's lines, however large the file and however long a line.

use std::io::{self, Read};

use common::grammar::line::Line;

/// So much of a line is kept. Every line of the grammar is shorter, so one that was cut here is none.
const KEPT_LEN_MAX: usize = 8192;

/// Hands each line to `on_line`, without its `\n` and with whether it had one, and returns how many
/// bytes were read.
pub fn for_each(mut source: impl Read, mut on_line: impl FnMut(&[u8], bool)) -> io::Result<u64> {
    let mut chunk = vec![0; 1 << 20];
    // The beginning of a line whose end is in the next chunk.
    let mut partial = Vec::new();
    let mut total_len = 0;
    loop {
        let len = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        total_len += len as u64;
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &chunk[..len]) {
            if partial.is_empty() {
                on_line(&chunk[start..end], true);
            } else {
                keep(&mut partial, &chunk[start..end]);
                on_line(&partial, true);
                partial.clear();
            }
            start = end + 1;
        }
        keep(&mut partial, &chunk[start..len]);
    }
    if !partial.is_empty() {
        on_line(&partial, false);
    }
    Ok(total_len)
}

fn keep(partial: &mut Vec<u8>, part: &[u8]) {
    let room = KEPT_LEN_MAX - partial.len();
    partial.extend_from_slice(&part[..part.len().min(room)]);
}

/// A line of the log's grammar, if it is one.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    Line::parse_bytes(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn lines(bytes: &[u8], step: usize) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Vec::new();
        let len = for_each(Trickle(bytes, step), |line, ended| lines.push((line.to_vec(), ended)))
            .unwrap();
        assert_eq!(len, bytes.len() as u64);
        lines
    }

    #[test]
    fn lines_are_found_wherever_reads_cut_them() {
        for step in [1, 2, 3, 100] {
            let expected = [("one", true), ("", true), ("two", true), ("torn", false)]
                .map(|(line, ended)| (line.as_bytes().to_vec(), ended));
            assert_eq!(lines(b"one\n\ntwo\ntorn", step), expected, "{step} bytes at a time");
        }
        assert_eq!(lines(b"", 1), []);
    }

    #[test]
    fn of_an_endless_line_only_the_beginning_is_kept() {
        let bytes = [vec![b'x'; 3 << 20], b"\nnext\n".to_vec()].concat();
        let lines = lines(&bytes, 1 << 20);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].0.len(), KEPT_LEN_MAX);
        assert_eq!(lines[1].0, b"next");
    }
}
