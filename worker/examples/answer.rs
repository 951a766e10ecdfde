//! A COMMAND for `--lines`: does its work with each message, and answers. To copy from.
//!
//! ```text
//! loadbalancer --lines 3 -- target/release/examples/answer
//! ```
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::fd::AsFd;

fn main() -> io::Result<()> {
    // A buffer that can be asked whether more has come already.
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut input = BufReader::with_capacity(1 << 16, stdin);
    let mut output = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let mut parts = line.trim_ascii_end().splitn(4, |&byte| byte == b'\t');
        let mut part = || parts.next().ok_or(io::ErrorKind::InvalidData);
        let (id, _attempt, _index, text) = (part()?, part()?, part()?, part()?);
        output.write_all(id)?;
        output.write_all(work(text))?;
        line.clear();
        // Before it waits for the next one, it says what it has done.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

/// The work itself. Here a text with a `!` is none that could ever be done.
fn work(text: &[u8]) -> &'static [u8] {
    if text.contains(&b'!') { b"\tdead\tit has a ! in it\n" } else { b"\tok\n" }
}
