//! The process that reads the lines and gives each message to the worker whose turn it is.

use std::io::{self, BufRead, BufReader};

use crate::log::Log;
use crate::{Args, BUFFER_LEN};

/// How messages get to the workers.
pub(crate) trait Way {
    /// A message for a worker, counted from 0. It may stay in a buffer for a while.
    fn send(&mut self, worker: usize, text: &[u8]) -> io::Result<()>;

    /// That was all; waits until the workers have ended.
    fn end(self) -> io::Result<()>;
}

/// Gives all lines of standard input.
pub(crate) fn run(mut way: impl Way, args: &Args) -> io::Result<()> {
    let mut log = Log::open(&args.log)?;
    let mut shares = vec![0u64; args.workers];
    let mut turn = 0;
    // The buffer of `Stdin`, which is smaller, is passed by whoever reads so much at once.
    let mut input = BufReader::with_capacity(BUFFER_LEN, io::stdin().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let (text, digits, count) = parse(&line).ok_or(io::ErrorKind::InvalidData)?;
        log.submission(text, digits);
        for index in 1..=count {
            log.received(text, index)?;
            way.send(turn, text)?;
            shares[turn] += 1;
            turn = if turn + 1 == args.workers { 0 } else { turn + 1 };
        }
        line.clear();
    }
    log.flush()?;
    way.end()?;
    for (worker, messages) in (1..).zip(shares) {
        log.total(worker, messages)?;
    }
    log.flush()
}

/// `TEXT;COUNT`: the text, and the count as it is there and as a number.
fn parse(line: &[u8]) -> Option<(&[u8], &[u8], u32)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let separator = line.iter().rposition(|&byte| byte == b';')?;
    let (text, digits) = (&line[..separator], &line[separator + 1..]);
    Some((text, digits, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_semicolon_separates() {
        assert_eq!(parse(b"a;b;12\n"), Some((&b"a;b"[..], &b"12"[..], 12)));
        assert_eq!(parse(b"a\n"), None);
    }
}
