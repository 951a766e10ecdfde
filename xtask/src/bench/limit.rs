//! The limit: the identical bytes, written by one process in 1 MiB writes to a new file in the same
//! directory. Only opening, writing and closing are timed.
//!
//! The process reads each piece of our job's log, which is still in the page cache, into one buffer,
//! stops the clock meanwhile, and writes it: so the bytes come out of the processor's cache, not off
//! a disk, and nothing is rendered. No program that must write the log can be faster.
//!
//! Unless the machine is busy. Then each process gets a share of the processor, and our job, of
//! five processes, gets more of it than the one here: ours came out at three times the "limit" that
//! way. So the process also tells how much processor time it had while the clock ran. Writing into
//! the page cache never waits, so on a quiet machine both are equal; where they are not
//! ([`Limit::cpu_share`]), no goal that is a ratio to someone else counts as met.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::failure::Failure;
use super::role;

const CHUNK_LEN: u64 = 1 << 20;

/// Arguments of the process that writes.
#[derive(Debug, clap::Args)]
pub(super) struct WriteCopy {
    from: PathBuf,
    to: PathBuf,
}

/// What the process measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) took: Duration,
    /// Of a core, while the clock ran: 1 when nobody else wanted it.
    pub(super) cpu_share: f64,
}

/// Starts the process, and returns what it measured.
pub(super) fn run(log: &Path) -> Result<Limit, Failure> {
    let copy = log.with_file_name("limit.log");
    let mut command = role::command("write-copy")?;
    let output =
        command.args([log, &copy]).output().map_err(Failure::system("the process that copies"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let measured = printed.trim().split_once(' ').and_then(|(took, cpu)| {
        Some((Duration::from_nanos(took.parse().ok()?), Duration::from_nanos(cpu.parse().ok()?)))
    });
    let same_len = || Some(copy.metadata().ok()?.len() == log.metadata().ok()?.len());
    match measured {
        Some((took, cpu)) if output.status.success() && same_len() == Some(true) => {
            std::fs::remove_file(&copy).map_err(Failure::system("limit.log"))?;
            Ok(Limit { took, cpu_share: cpu.as_secs_f64() / took.as_secs_f64() })
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
        let mut clock = Clock::default();
        let mut to = clock.time(|| File::create_new(&self.to))?;
        loop {
            chunk.clear();
            if (&mut from).take(CHUNK_LEN).read_to_end(&mut chunk)? == 0 {
                break;
            }
            clock.time(|| to.write_all(&chunk))?;
        }
        clock.time(|| {
            drop(to);
            Ok(())
        })?;
        println!("{} {}", clock.took.as_nanos(), clock.cpu.as_nanos());
        Ok(())
    }
}

/// Adds up what the timed pieces took, by the wall and of the processor.
#[derive(Default)]
struct Clock {
    took: Duration,
    cpu: Duration,
}

impl Clock {
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
