//! `--echo`: each message is printed as it is executed. At least once: a worker that is killed after this and before it
//! has counted the message gets it again.

use std::io::{self, Write};

use common::error::{Error, heed_signals};
use nix::errno::Errno;
use nix::unistd;

/// With so many bytes to print they are printed.
const PRINT_LEN: usize = 64 << 10;

pub(crate) struct Echo {
    /// What is to be printed next, if messages are. No `BufWriter`: dropped, it would wait for a reader who
    /// does not read.
    echo: Option<Vec<u8>>,
}

impl Echo {
    pub(crate) fn new(echo: bool) -> Self {
        Self { echo: echo.then(Vec::new) }
    }

    /// Executes one message: text and index are what the frame says.
    pub(crate) fn execute(&mut self, text: &[u8], index: u32) -> Result<(), Error> {
        let Some(lines) = &mut self.echo else { return Ok(()) };
        lines.extend_from_slice(text);
        // Writing to a Vec cannot fail.
        let _ = writeln!(lines, ";{index}");
        if lines.len() < PRINT_LEN { Ok(()) } else { self.flush() }
    }

    /// What was executed can be seen from here on.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let Some(lines) = &mut self.echo else { return Ok(()) };
        while !lines.is_empty() {
            match unistd::write(io::stdout(), lines) {
                Ok(written) => drop(lines.drain(..written)),
                // Asked to end, a worker does not wait for the reader, nor complain of one who has ended first.
                Err(Errno::EINTR) => heed_signals()?,
                Err(e) => return heed_signals().and(Err(Error::system("standard output")(e))),
            }
        }
        Ok(())
    }
}
