//! What people would build instead: one process that gives messages to N others, a `msgsnd` and a
//! `msgrcv` for each.
//!
//! - *line at a time* is the original's design without its sleeps, and with workers that are started
//!   before the messages are sent, so that it does not hang: each line is written by
//!   open, flock, write, close. The original's turn among workers is left out, which costs it the
//!   order, and spares it the waiting.
//! - *raw queue* only carries the messages; nothing is logged.
//!
//! Both are far slower than what they are compared with, so they get fewer messages, and are
//! compared by time per message. Starting their processes is timed, as it is for our job.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::fence::message_queue::{Message, MessageQueue};
use common::grammar::line::Line;
use common::grammar::rotation::{WorkerId, Workers};
use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::Failure;
use super::ipc::{self, send};
use super::judge;
use super::launch::{Launched, as_subprocess, launch};

/// Runs N takers and a giver to their end; with a log, which is judged, it is line at a time, without one the raw
/// queue.
pub(super) fn run(case: &Case, logs: bool, binaries: &Binaries) -> Result<Duration, Failure> {
    let sandbox = Sandbox::new(binaries);
    let queues = ipc::queues(&sandbox, case.workers)?;
    let path = sandbox.log_path();
    let log = logs.then_some(["--log".as_ref(), path.as_os_str()]);
    let log = log.as_ref().into_iter().flatten();
    let start = Instant::now();
    let mut takers = Vec::new();
    for (worker, queue) in case.workers.ids().zip(&queues) {
        let share = case.workers.share(worker, u64::from(case.messages));
        let mut taker = as_subprocess("taker");
        taker.args([queue, &worker.to_string(), &share.to_string()]).args(log.clone());
        takers.push(launch(taker)?);
    }
    let mut giver = as_subprocess("giver");
    giver.args([&case.text(), &case.messages.to_string()]).args(&queues).args(log);
    launch(giver)?.finish()?;
    takers.into_iter().try_for_each(Launched::finish)?;
    let took = start.elapsed();
    if logs {
        judge::complete(&path, case)?;
    }
    Ok(took)
}

/// Arguments of the process that gives.
#[derive(Debug, clap::Args)]
pub(super) struct Giver {
    text: String,
    messages: u32,
    queues: Vec<i32>,
    #[arg(long)]
    log: Option<PathBuf>,
}

impl Giver {
    pub(super) fn run(&self) -> io::Result<()> {
        let workers = Workers::new(self.queues.len()).map_err(io::Error::other)?;
        let mut message = Message::boxed();
        message.bytes[..self.text.len()].copy_from_slice(self.text.as_bytes());
        let text = self.text.as_str();
        let log = self.log.as_deref();
        append(log, &[Line::Client { text }, Line::Count { count: self.messages }])?;
        for index in 1..=self.messages {
            append(log, &[Line::Received { text, index }])?;
            let worker = workers.worker_of(u64::from(index) - 1);
            send(MessageQueue(self.queues[worker.index()]), &message, text.len())?;
        }
        Ok(())
    }
}

/// Arguments of a process that takes.
#[derive(Debug, clap::Args)]
pub(super) struct Taker {
    queue: i32,
    worker: WorkerId,
    messages: u64,
    #[arg(long)]
    log: Option<PathBuf>,
}

impl Taker {
    pub(super) fn run(&self) -> io::Result<()> {
        let mut message = Message::boxed();
        let log = self.log.as_deref();
        for _ in 0..self.messages {
            MessageQueue(self.queue).receive(&mut message, 0)?;
            append(log, &[Line::Executed { worker: self.worker }])?;
        }
        append(log, &[Line::Total { worker: self.worker, messages: self.messages }])
    }
}

/// As the original logs: everything anew for each line.
fn append(log: Option<&Path>, lines: &[Line<'_>]) -> io::Result<()> {
    let Some(log) = log else { return Ok(()) };
    let mut bytes = Vec::new();
    for line in lines {
        common::grammar::line::append(&mut bytes, *line);
    }
    let mut file: File = OpenOptions::new().append(true).create(true).open(log)?;
    file.lock()?;
    file.write_all(&bytes)?;
    file.unlock()
}
