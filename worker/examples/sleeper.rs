//! A COMMAND for `--lines` that waits 10 ms with each message, as for an answer from elsewhere. It says of each at
//! once that it is done: who takes that long for one does not save up answers.
//!
//! ```text
//! loadbalancer --lines 64 -- target/release/examples/sleeper
//! ```
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

fn main() -> io::Result<()> {
    // It is written out at the end of each line.
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().split(b'\n') {
        let line = line?;
        let id = line.split(|&byte| byte == b'\t').next().unwrap_or_default();
        thread::sleep(Duration::from_millis(10));
        output.write_all(&[id, b"\tok\n"].concat())?;
    }
    Ok(())
}
