//! A COMMAND that is kept, and the pipes to and from it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::error::Error;
use common::program::work::Work;
use nix::poll::{PollFd, PollFlags};

use crate::hand::Ended;
use crate::output::Output;
use crate::process::{Place, Running};
use crate::wait::wait_for;
use crate::{LINES_KEY, LINES_VARIABLE, Progress, args, lines_name};

/// Bytes read at once; an answer that is longer is none.
pub(super) const CHUNK: usize = 64 << 10;
/// So long it may at least take to end after it has closed its files: how it ended says more than that.
const ENDING: Duration = Duration::from_secs(1);

pub(super) struct Handler<'a> {
    pub(super) running: Running<'a>,
    /// Nothing: it has closed that.
    pub(super) stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    /// What it is still to read; what it wrote that is no whole line yet.
    pub(super) outbox: Vec<u8>,
    pub(super) inbox: Vec<u8>,
    /// The worker's own numbers of what it was asked, in this order.
    pub(super) asked: VecDeque<u64>,
    /// Since when the first of them is, or was said to be alive.
    pub(super) since: Instant,
    /// When it closed one of them: it is to end soon after that, and perhaps it is about to.
    closed: Option<(Instant, &'static str)>,
}

/// What a look at it came to.
pub(super) enum Seen {
    Nothing,
    Something,
    /// It answers no more; why, of the first message that it was asked.
    Failed(Ended),
}

impl<'a> Handler<'a> {
    /// Starts one.
    pub(super) fn start(
        work: &Work,
        output: &Output,
        progress: &dyn Progress<'a>,
    ) -> Result<Self, Error> {
        let (instance, worker) = (progress.instance(), progress.worker());
        let mut command = Command::new(&work.command[0]);
        command
            .args(args(work, worker, None))
            .env("LB_WORKER", worker.to_string())
            .env(LINES_VARIABLE, lines_name(instance, worker));
        let (_, stderr) = output.stdio()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let place = Place { instance, attempt: (worker, LINES_KEY) };
        let mut running = Running::start(place, &mut command, &mut || progress.look())?;
        let child = running.child();
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are pipes");
        };
        rustix::io::ioctl_fionbio(&stdin, true).map_err(Error::system("ioctl"))?;
        rustix::io::ioctl_fionbio(&stdout, true).map_err(Error::system("ioctl"))?;
        Ok(Self {
            running,
            stdin: Some(stdin),
            stdout: Some(stdout),
            outbox: Vec::new(),
            inbox: Vec::new(),
            asked: VecDeque::new(),
            since: Instant::now(),
            closed: None,
        })
    }

    /// Whether one that was asked nothing lives, and has written nothing.
    pub(super) fn is_sound(&mut self) -> bool {
        if !self.asked.is_empty() {
            return true;
        }
        let seen = self.exchange();
        self.inbox.is_empty()
            && self.closed.is_none()
            && !matches!(seen, Ok(Seen::Failed(_)) | Err(_))
    }

    /// Writes and reads what can be without waiting.
    pub(super) fn exchange(&mut self) -> Result<Seen, Error> {
        let mut any = false;
        if let Some(stdin) = self.stdin.as_mut().filter(|_| !self.outbox.is_empty()) {
            match stdin.write(&self.outbox) {
                Ok(written) => {
                    self.outbox.drain(..written);
                    any = true;
                }
                Err(error) if is_for_now(&error) => {}
                // It may have answered before it closed that.
                Err(_) => {
                    self.stdin = None;
                    self.outbox.clear();
                    self.closed.get_or_insert((Instant::now(), "standard input"));
                }
            }
        }
        // Before the look at its answers: those that it gave before it ended are in the pipe then.
        let has_ended = wait_for(&mut [self.running.handle()], Duration::ZERO)?;
        let len = self.inbox.len();
        self.inbox.resize(len + CHUNK, 0);
        let read = match &mut self.stdout {
            Some(stdout) => stdout.read(&mut self.inbox[len..]),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        self.inbox.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(1..) => Ok(Seen::Something),
            // How it ended is asked when it is waited for.
            _ if has_ended => Ok(Seen::Failed(Ended::Exit(0))),
            // A process that ends closes its files first: that it has ended is seen a moment later, and how it
            // did may matter.
            Ok(0) => {
                self.stdout = None;
                self.closed.get_or_insert((Instant::now(), "standard output"));
                Ok(Seen::Something)
            }
            Err(error) if is_for_now(&error) => {
                Ok(if any { Seen::Something } else { Seen::Nothing })
            }
            Err(error) => Err(Error::system("a pipe from COMMAND")(error)),
        }
    }

    /// Waits until something can be done, or is due.
    pub(super) fn wait(&self, work: &Work, pause: Duration) -> Result<(), Error> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let mut limit = pause;
        if let Some(time) = work.time_limit().filter(|_| !self.asked.is_empty()) {
            limit = limit.min(until(self.since + time));
        }
        if let Some((closed, _)) = self.closed {
            limit = limit.min(until(closed + work.grace.max(ENDING)));
        }
        let mut seen = vec![self.running.handle()];
        let stdout = self.stdout.as_ref();
        seen.extend(stdout.map(|stdout| PollFd::new(stdout.as_fd(), PollFlags::POLLIN)));
        if let Some(stdin) = self.stdin.as_ref().filter(|_| !self.outbox.is_empty()) {
            seen.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        wait_for(&mut seen, limit).map(drop)
    }

    /// Whether the oldest message takes too long, or the end of one that has closed its standard input or output
    /// does.
    pub(super) fn overdue(&self, work: &Work) -> Seen {
        let limit = work.time_limit().filter(|_| !self.asked.is_empty());
        match (limit, self.closed) {
            (Some(limit), _) if self.since.elapsed() >= limit => {
                Seen::Failed(Ended::TimedOut(limit))
            }
            (_, Some((closed, which))) if closed.elapsed() >= work.grace.max(ENDING) => {
                Seen::Failed(Ended::Wrong(format!("it closed its {which}")))
            }
            _ => Seen::Nothing,
        }
    }
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
