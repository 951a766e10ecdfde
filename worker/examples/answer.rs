//! A COMMAND for `--lines` in Rust: does its work with each message, and answers. To copy from. The same in other
//! languages is in `handlers/`.
//!
//! ```text
//! cargo build --release -p worker --example answer
//! loadbalancer --lines 3 -- target/release/examples/answer
//! ```
//!
//! A line in: `ID <tab> ATTEMPT <tab> INDEX <tab> TEXT`. A line out: `ID <tab> ok` (or `retry`, `dead`, each with
//! `<tab> REASON` if you like; or `alive`).
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
        let mut parts = line.strip_suffix(b"\n").unwrap_or(&line).splitn(4, |&byte| byte == b'\t');
        let mut part = || parts.next().ok_or(io::ErrorKind::InvalidData);
        let (id, attempt, _index, text) = (part()?, part()?, part()?, part()?);
        output.write_all(id)?;
        output.write_all(work(text, attempt))?;
        line.clear();
        // Before it waits for the next one, it says what it has done.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

/// The work itself. Here a text with a `!` is none that could ever be done, and one that begins with `busy` is not
/// done at the first try.
fn work(text: &[u8], attempt: &[u8]) -> &'static [u8] {
    if text.contains(&b'!') {
        b"\tdead\tit has a ! in it\n"
    } else if text.starts_with(b"busy") && attempt == b"1" {
        b"\tretry\tbusy\n"
    } else {
        b"\tok\n"
    }
}
