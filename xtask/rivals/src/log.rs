//! The log, to which each process appends through a buffer of its own, whole lines with each write.
//!
//! The pieces of the lines are here a second time: this is another program, and `bench` reads what it writes with the product's forms.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::BUFFER_LEN;

pub(crate) struct Log {
    file: File,
    lines: Vec<u8>,
}

impl Log {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file, lines: Vec::with_capacity(2 * BUFFER_LEN) })
    }

    /// The lines of a submission. Its count is given as it was read.
    pub(crate) fn submission(&mut self, text: &[u8], count: &[u8]) {
        for piece in [b"Message from client: ", text, b"\nMessage count: ", count, b"\n"] {
            self.lines.extend_from_slice(piece);
        }
    }

    pub(crate) fn received(&mut self, text: &[u8], index: u32) -> io::Result<()> {
        for piece in [b"Received at lb: ", text, b" (#message "] {
            self.lines.extend_from_slice(piece);
        }
        self.lines.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
        self.line(b")\n")
    }

    pub(crate) fn total(&mut self, worker: usize, messages: u64) -> io::Result<()> {
        self.line(format!("Worker {worker}: {messages} messages\n").as_bytes())
    }

    /// A line, or the rest of one.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lines.extend_from_slice(bytes);
        if self.lines.len() >= BUFFER_LEN { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}
