//! The limit: the identical bytes, written by one process in 1 MiB writes to a new file in the same
//! directory. Only opening, writing and closing are timed.
//!
//! The process reads each piece of our job's log, which is still in the page cache, into one buffer,
//! stops the clock meanwhile, and writes it: so the bytes come out of the processor's cache, not off
//! a disk, and nothing is rendered. No program that must write the log can be faster.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::role;

const CHUNK_LEN: u64 = 1 << 20;

/// Arguments of the process that writes.
#[derive(Debug, clap::Args)]
pub(super) struct WriteCopy {
    from: PathBuf,
    to: PathBuf,
}

/// Starts the process, and returns the time that it measured.
pub(super) fn run(log: &Path) -> Result<Duration, Failure> {
    let copy = log.with_file_name("limit.log");
    let mut command = role::command("write-copy")?;
    let output =
        command.args([log, &copy]).output().map_err(Failure::system("the process that copies"))?;
    let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    let same_len = || Some(copy.metadata().ok()?.len() == log.metadata().ok()?.len());
    match nanoseconds {
        Some(nanoseconds) if output.status.success() && same_len() == Some(true) => {
            std::fs::remove_file(&copy).map_err(Failure::system("limit.log"))?;
            Ok(Duration::from_nanos(nanoseconds))
        }
        _ => Err(Failure::Program {
            name: "write-copy".to_owned(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

impl WriteCopy {
    /// In that process.
    pub(super) fn run(&self) -> io::Result<()> {
        let mut from = File::open(&self.from)?;
        let mut chunk = Vec::with_capacity(1 << 20);
        let start = Instant::now();
        let mut to = File::create_new(&self.to)?;
        let mut spent = start.elapsed();
        loop {
            chunk.clear();
            if (&mut from).take(CHUNK_LEN).read_to_end(&mut chunk)? == 0 {
                break;
            }
            let start = Instant::now();
            to.write_all(&chunk)?;
            spent += start.elapsed();
        }
        let start = Instant::now();
        drop(to);
        spent += start.elapsed();
        println!("{}", spent.as_nanos());
        Ok(())
    }
}
