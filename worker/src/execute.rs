//! What a worker does with a message. At least once: a worker that is killed after this and before it
//! has counted the message gets it again.

use std::io::{self, BufWriter, Stdout, Write};

use common::error::Error;

pub(crate) struct Executor {
    echo: Option<BufWriter<Stdout>>,
}

impl Executor {
    pub(crate) fn new(echo: bool) -> Self {
        Self { echo: echo.then(|| BufWriter::new(io::stdout())) }
    }

    /// Executes one message: text and index are what the frame says.
    pub(crate) fn execute(&mut self, text: &[u8], index: u32) -> io::Result<()> {
        match &mut self.echo {
            None => Ok(()),
            Some(out) => {
                out.write_all(text)?;
                writeln!(out, ";{index}")
            }
        }
    }

    /// What was executed can be seen from here on.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.echo.as_mut().map_or(Ok(()), Write::flush).map_err(Error::system("standard output"))
    }
}
