//! What a worker does with a message. At least once: a worker that is killed after this and before it
//! has counted the message gets it again.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use common::error::Error;
use common::fence::signals;

pub(crate) struct Executor {
    echo: Option<BufWriter<Output>>,
}

impl Executor {
    pub(crate) fn new(echo: bool) -> Result<Self, Error> {
        let output = || io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let echo = echo.then(output).transpose().map_err(Error::system("standard output"))?;
        Ok(Self { echo: echo.map(|file| BufWriter::new(Output { file, given_up: false })) })
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

/// Standard output, for whose reader a worker does not wait once it was asked to end.
struct Output {
    file: File,
    given_up: bool,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.given_up {
            return Err(io::Error::other("nobody reads it"));
        }
        let written = self.file.write(bytes);
        // The caller tries again, then.
        self.given_up = matches!(&written, Err(e) if e.kind() == io::ErrorKind::Interrupted)
            && signals::aborted_by().is_some();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
