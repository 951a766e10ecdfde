//! The same handlers at plain pipes: one process writes the lines that the workers write, in rotation, to each handler
//! in large pieces, and throws the answers away. No log, no order between handlers, and nobody notices one that
//! dies.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::grammar::message_id::MessageId;
use common::grammar::rotation::Workers;

use crate::case::Case;
use crate::failure::Failure;
use crate::launch::{self, as_subprocess};

/// As much as a pipe holds.
const CHUNK_LEN: usize = 64 << 10;

/// Runs it as a process, which is timed from its start as our job is.
pub(super) fn time(case: &Case, handler: &[OsString]) -> Result<Duration, Failure> {
    let mut command = as_subprocess("pipes");
    command.args([case.workers.to_string(), case.messages.to_string(), case.text()]).args(handler);
    launch::time(command)
}

/// Arguments of that process.
#[derive(Debug, clap::Args)]
pub(crate) struct Pipes {
    handlers: Workers,
    messages: u32,
    text: String,
    handler: PathBuf,
}

impl Pipes {
    pub(crate) fn run(&self) -> io::Result<()> {
        let mut children = Vec::new();
        let mut readers = Vec::new();
        for _ in self.handlers.ids() {
            let mut handler = Command::new(&self.handler);
            let mut child = handler.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            readers.push(thread::spawn(move || count(stdout)));
            children.push((child, stdin, Vec::with_capacity(2 * CHUNK_LEN)));
        }
        let mut due = 0;
        for message in 0..u64::from(self.messages) {
            let (_, stdin, chunk) = &mut children[self.handlers.worker_of(message).index()];
            let before = chunk.len();
            write!(chunk, "{}", MessageId { session: 0, message })?;
            due += chunk.len() - before + "\tok\n".len();
            writeln!(chunk, "\t1\t{}\t{}", message + 1, self.text)?;
            if chunk.len() >= CHUNK_LEN {
                stdin.write_all(chunk)?;
                chunk.clear();
            }
        }
        // All have their rest before any is waited for: a pipe holds it.
        let mut ending = Vec::new();
        for (child, mut stdin, chunk) in children {
            stdin.write_all(&chunk)?;
            ending.push(child);
        }
        for mut child in ending {
            child.wait()?;
        }
        let mut answered = 0;
        for reader in readers {
            answered += reader.join().map_err(|_| io::Error::other("a reader panicked"))??;
        }
        if answered == due {
            return Ok(());
        }
        Err(io::Error::other(format!("{answered} bytes of answers, not {due}")))
    }
}

/// Bytes up to the end.
fn count(mut from: impl Read) -> io::Result<usize> {
    let mut buffer = vec![0; CHUNK_LEN];
    let mut len = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(len),
            read => len += read,
        }
    }
}
