//! A pipe for each worker, a text a line, 64 KiB with each write.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};

use crate::give::Way;
use crate::take::Executed;
use crate::{Args, BUFFER_LEN, wait_for};

pub(crate) struct Pipes {
    workers: Vec<Child>,
    /// Each with what is not written yet.
    pipes: Vec<(ChildStdin, Vec<u8>)>,
}

impl Pipes {
    pub(crate) fn start(args: &Args) -> io::Result<Self> {
        let mut workers = args.start_workers(Stdio::piped)?;
        let pipes = workers.iter_mut().filter_map(|worker| worker.stdin.take());
        let pipes = pipes.map(|pipe| (pipe, Vec::with_capacity(2 * BUFFER_LEN))).collect();
        Ok(Self { workers, pipes })
    }
}

impl Way for Pipes {
    fn send(&mut self, worker: usize, text: &[u8]) -> io::Result<()> {
        let (pipe, lines) = &mut self.pipes[worker];
        lines.extend_from_slice(text);
        lines.push(b'\n');
        if lines.len() >= BUFFER_LEN {
            pipe.write_all(lines)?;
            lines.clear();
        }
        Ok(())
    }

    fn end(self) -> io::Result<()> {
        for (mut pipe, lines) in self.pipes {
            pipe.write_all(&lines)?;
        }
        wait_for(self.workers)
    }
}

/// In the worker: its lines.
pub(crate) fn take(executed: Executed<'_>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(BUFFER_LEN, io::stdin().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        executed()?;
        line.clear();
    }
    Ok(())
}
