//! What latency is compared with: three processes that wake each other as ours do and do nothing
//! else. A line on the first one's pipe, a futex to the second, a queue message to the third, which
//! writes one line: so the harness sees the end in the same way for both.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use common::fence::message_queue::{Message, MessageQueue};
use common::grammar::line::Line;
use common::grammar::rotation::WorkerId;
use common::ledger::Ledger;

use super::ipc::send;

/// Arguments of the process at the pipe. Of the segment, a ledger's, only what wakes up the next one is used.
#[derive(Debug, clap::Args)]
pub(super) struct PingClient {
    segment: i32,
}

impl PingClient {
    pub(super) fn run(&self) -> io::Result<()> {
        let ledger = Ledger::attach(self.segment)?;
        for (sent, line) in (1..).zip(io::stdin().lines()) {
            line?;
            ledger.set_received(sent);
            ledger.doorbell().ring();
        }
        Ok(())
    }
}

/// Arguments of the process between futex and queue. It is killed at the end.
#[derive(Debug, clap::Args)]
pub(super) struct PingBalancer {
    segment: i32,
    queue: i32,
    text_len: usize,
}

impl PingBalancer {
    pub(super) fn run(&self) -> io::Result<()> {
        let ledger = Ledger::attach(self.segment)?;
        let message = Message::boxed();
        let mut sent = 0;
        loop {
            let seen = ledger.doorbell().look();
            if ledger.received() == sent {
                ledger.doorbell().sleep(seen, Duration::from_secs(1))?;
                continue;
            }
            send(MessageQueue(self.queue), &message, self.text_len)?;
            sent += 1;
        }
    }
}

/// Arguments of the process at the queue's other end. It is killed at the end.
#[derive(Debug, clap::Args)]
pub(super) struct PingWorker {
    queue: i32,
    log: PathBuf,
}

impl PingWorker {
    pub(super) fn run(&self) -> io::Result<()> {
        let mut log = OpenOptions::new().append(true).create(true).open(&self.log)?;
        let mut line = Vec::new();
        common::grammar::line::append(&mut line, written());
        let mut message = Message::boxed();
        loop {
            MessageQueue(self.queue).receive(&mut message, 0)?;
            log.write_all(&line)?;
        }
    }
}

/// The line that is written for each message.
pub(super) fn written() -> Line<'static> {
    Line::Executed { worker: WorkerId::new(1).expect("there may be a worker 1") }
}
