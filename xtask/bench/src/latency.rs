//! One message at a time through a `loadbalancer --serve`: from just before the submission is written
//! into the client's pipe until the worker's line is in the log; against the raw ping-pong with the
//! same wake-ups.
//!
//! What is fair: both have the same way in (a pipe to a waiting process) and out (the harness looks
//! at the length of the log in a loop, yielding in between; with `lseek(2)`, since `fstat(2)` also asks for
//! the times, which makes the next write slower on Linux 6.13 and later), the same three wake-ups (pipe, futex,
//! queue) and the same pause before the next message, in which everyone falls asleep. They take
//! turns in blocks, so that the caches are theirs after the first few of a block. The harness
//! occupies one core while it looks; on two cores the kernel then often runs the three processes on
//! the other one, for both. What ours does beyond is what is measured: three transactions with a
//! lock and a write each instead of one write, and the ledger. (The ping-pong is `bench` itself, which is
//! optimised, but not at link time: it hardly does anything outside of the kernel.)

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::grammar::rotation::Workers;
use serde::Serialize;
use tests::{Binaries, Sandbox};

use super::case::{Case, len};
use super::failure::{Failure, until};
use super::ipc;
use super::judge;
use super::launch::{Launched, as_subprocess, launch};
use super::ping_pong::written;
use super::spread::{Spread, quantile, sorted};
use super::texts::{Lens, Texts};

/// Messages before the others take their turn.
const BLOCK: u32 = 100;
/// Messages of each block that are not counted.
const BLOCK_WARM_UP: u32 = 10;
const PAUSE: Duration = Duration::from_micros(100);
/// All of the same length: so the log grows by the same for each message.
const LENS: Lens = Lens::exactly(6);

/// How long a message takes, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) messages: usize,
    pub(super) ours: Percentiles,
    pub(super) ping_pong: Percentiles,
    /// Ours by the ping-pong's p50, block by block.
    pub(super) times_ping_pong: Spread,
    pub(super) verified: bool,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Percentiles {
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Percentiles {
    fn of(values: &[f64]) -> Self {
        let sorted = sorted(values.iter().copied());
        let at = |per_mille| quantile(&sorted, per_mille);
        Self { min: at(0), p50: at(500), p99: at(990), max: at(1000) }
    }
}

/// Measures so many messages, or a few more, of each.
pub(super) fn run(
    messages: u32,
    workers: Workers,
    binaries: &Binaries,
) -> Result<Latency, Failure> {
    let blocks = messages.div_ceil(BLOCK - BLOCK_WARM_UP);
    let (ours_box, raw_box) = (Sandbox::new(binaries), Sandbox::new(binaries));

    // Ours.
    let balancer =
        launch(ours_box.command("loadbalancer", &["--serve", &workers.get().to_string()]))?;
    let mut client = ours_box.command("client", &["--quiet"]);
    client.stdin(Stdio::piped());
    let case = Case::lines(blocks * BLOCK, LENS, workers);
    let growth = Case { messages: 1, ..case }.log_len_before_totals();
    let mut ours = Way::open(launch(client)?, &ours_box.log_path(), growth)?;

    // The ping-pong.
    let segment = &ipc::segment(&raw_box)?;
    let queue = &ipc::queues(&raw_box, workers)?[0];
    let raw_log = raw_box.log_path();
    let mut ping_worker = as_subprocess("ping-worker");
    ping_worker.arg(queue).arg(&raw_log);
    let mut ping_balancer = as_subprocess("ping-balancer");
    ping_balancer.args([segment, queue, &LENS.max.to_string()]);
    let mut ping_client = as_subprocess("ping-client");
    ping_client.arg(segment).stdin(Stdio::piped());
    let _killed_at_the_end = [launch(ping_worker)?, launch(ping_balancer)?];
    let mut raw = Way::open(launch(ping_client)?, &raw_log, len(written()))?;

    let (mut all_ours, mut all_raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..blocks {
        let (ours, raw) = (ours.block()?, raw.block()?);
        ratios.push(Percentiles::of(&ours).p50 / Percentiles::of(&raw).p50);
        all_ours.extend(ours);
        all_raw.extend(raw);
    }
    ours.close()?;
    raw.close()?;
    balancer.terminate();
    balancer.finish()?;
    judge::canonical(&ours_box.log_path(), &case)?;
    Ok(Latency {
        messages: all_ours.len(),
        ours: Percentiles::of(&all_ours),
        ping_pong: Percentiles::of(&all_raw),
        times_ping_pong: Spread::of(ratios),
        verified: true,
    })
}

/// A way for messages, from a process's pipe to a log.
struct Way {
    process: Launched,
    pipe: ChildStdin,
    log: File,
    log_len: u64,
    /// For each message.
    growth: u64,
    texts: Texts,
    sent: u32,
}

impl Way {
    /// Waits until the log is there.
    fn open(mut process: Launched, log: &Path, growth: u64) -> Result<Self, Failure> {
        let pipe = process.child.stdin.take();
        let pipe = pipe.ok_or_else(|| Failure::system("stdin")(nix::errno::Errno::EBADF))?;
        let log = until("the log", || File::open(log).ok())?;
        Ok(Self { process, pipe, log, log_len: 0, growth, texts: Texts::new(LENS), sent: 0 })
    }

    /// Latencies of a block, in microseconds.
    fn block(&mut self) -> Result<Vec<f64>, Failure> {
        let mut latencies = Vec::new();
        for i in 0..BLOCK {
            let latency = self.message()?;
            if i >= BLOCK_WARM_UP {
                latencies.push(latency.as_secs_f64() * 1e6);
            }
            let start = Instant::now();
            while start.elapsed() < PAUSE {
                thread::yield_now();
            }
        }
        Ok(latencies)
    }

    fn message(&mut self) -> Result<Duration, Failure> {
        self.log_len += self.growth;
        let mut input = Vec::new();
        self.texts.append_submission(&mut input, self.sent);
        self.sent += 1;
        let start = Instant::now();
        self.pipe.write_all(&input).map_err(Failure::system("the client's pipe"))?;
        let mut len = || self.log.seek(SeekFrom::End(0)).ok();
        until("the worker's line", || len().filter(|len| *len >= self.log_len))?;
        Ok(start.elapsed())
    }

    /// Ends the process at the pipe.
    fn close(self) -> Result<(), Failure> {
        drop(self.pipe);
        self.process.finish()
    }
}
