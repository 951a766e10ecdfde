//! The limit: the identical bytes, written by one process in 1 MiB writes to a new file in the same
//! directory. Only opening, writing and closing are timed.
//!
//! The process reads our job's log into its memory, removes it, and writes it anew: no disk is read,
//! nothing is rendered, and the pages are as warm as they are for our job ([`super::page_cache`]).
//! Each piece is copied, with the clock stopped, to where the processor's cache holds it. No program
//! that must write the log can be faster.
//!
//! Unless the machine is busy: then each process gets a share of the processor, and our job's five
//! get more than the one here. So it also tells how much processor time it had while the clock ran
//! ([`Limit::cpu_share`]). Writing into the page cache does not wait, so on a quiet machine that is
//! all of it; where it is not, no goal that is a ratio to someone else counts as met.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::launch::as_subprocess;
use super::page_cache::leave_pages;

const CHUNK_LEN: usize = 1 << 20;

/// Arguments of the process that writes.
#[derive(Debug, clap::Args)]
pub(super) struct Rewrite {
    log: PathBuf,
}

/// What the process measured, added up over the pieces that are timed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Limit {
    pub(super) took: Duration,
    /// Processor time of the process meanwhile.
    cpu: Duration,
}

/// Starts the process, and returns what it measured.
pub(super) fn run(log: &Path) -> Result<Limit, Failure> {
    let len = || log.metadata().map(|log| log.len()).map_err(Failure::system("the log"));
    let len_before = len()?;
    let mut command = as_subprocess("rewrite");
    let output = command.arg(log).output().map_err(Failure::system("the process that rewrites"))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(measured) if output.status.success() && len()? == len_before => Ok(measured),
        _ => Err(Failure::Program {
            name: "rewrite".to_owned(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

impl Rewrite {
    /// In that process.
    pub(super) fn run(&self) -> io::Result<()> {
        let bytes = std::fs::read(&self.log)?;
        std::fs::remove_file(&self.log)?;
        let dir = self.log.parent().ok_or_else(|| io::Error::other("a log without a directory"))?;
        leave_pages(dir, bytes.len() as u64)?;
        let mut chunk = Vec::with_capacity(CHUNK_LEN);
        let mut clock = Limit::default();
        let mut to = clock.time(|| File::create_new(&self.log))?;
        for piece in bytes.chunks(CHUNK_LEN) {
            chunk.clear();
            chunk.extend_from_slice(piece);
            clock.time(|| to.write_all(&chunk))?;
        }
        clock.time(|| {
            drop(to);
            Ok(())
        })?;
        serde_json::to_writer(io::stdout(), &clock).map_err(io::Error::from)
    }
}

impl Limit {
    /// Of a core, while the clock ran: 1 when nobody else wanted it.
    pub(super) fn cpu_share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.took.as_secs_f64()
    }

    fn time<T>(&mut self, piece: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (start, cpu) = (Instant::now(), cpu_time()?);
        let done = piece()?;
        self.took += start.elapsed();
        self.cpu += cpu_time()?.saturating_sub(cpu);
        Ok(done)
    }
}

/// Processor time of this process so far.
fn cpu_time() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?))
}
