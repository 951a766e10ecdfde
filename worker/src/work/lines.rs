//! `--lines`: COMMAND is kept, and answers each message with a line. Several may be on their way; the worker counts
//! those that are answered without a gap.
//!
//! ```text
//! → ID <tab> ATTEMPT <tab> INDEX <tab> TEXT
//! ← ID <tab> ok            | retry [<tab> reason] | dead [<tab> reason] | alive
//! ```
//!
//! | what a message is | it becomes |
//! |---|---|
//! | due | asked, once its pause is over |
//! | asked | over by `ok` or `dead`; due again by `retry`, or if the COMMAND that has it ends |
//! | over | counted, once all before it are; a dead one after its letter is written |

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::error::Error;
use common::fence::signals;
use common::instance::Instance;
use common::rotation::WorkerId;
use common::work::Work;
use nix::poll::{PollFd, PollFlags};

use crate::progress::Progress;
use crate::work::hand::{Answer, Ended, Hand, Next, now_ms};
use crate::work::joblog::{Job, Joblog, quoted};
use crate::work::process::{Look, Place, Running, TICK, wait_for};
use crate::work::{LINES_KEY, Message, cannot_be_run, letter, message_key};

/// Bytes read at once; an answer that is longer is none.
const CHUNK: usize = 64 << 10;
/// So much of a reason is kept.
const REASON_LEN: usize = 1024;
/// After a worker has died, so many messages are handed out one by one: as many as may have been on their way.
/// So it shows which of them it dies of.
const ONE_BY_ONE: u64 = 4096;

pub(crate) struct Lines<'a> {
    work: Work,
    joblog: Option<Joblog>,
    handler: Option<Handler<'a>>,
    /// Messages before this one are handed out one by one.
    one_by_one: u64,
}

/// A COMMAND that is kept.
struct Handler<'a> {
    running: Running<'a>,
    /// Nothing: it has closed that.
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    /// What it is still to read; what it wrote that is no whole line yet.
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    /// The worker's own numbers of what it was asked, in this order.
    asked: VecDeque<u64>,
    /// Since when the first of them is, or was said to be alive.
    since: Instant,
    /// When it closed one of them: it is to end soon after that, and perhaps it is about to.
    closed: Option<(Instant, &'static str)>,
}

struct Item {
    message: Message,
    hand: Hand,
    state: State,
}

enum State {
    Due(Option<Instant>),
    Asked,
    Done,
    Dead(String),
}

/// What COMMAND says of the oldest message that it has.
enum Said {
    Alive,
    Ended(Ended),
}

/// What a look at the COMMAND came to.
enum Seen {
    Nothing,
    Something,
    /// It answers no more; why, of the first message that it was asked.
    Failed(Ended),
}

impl<'a> Lines<'a> {
    pub(crate) fn new(work: Work, joblog: Option<Joblog>) -> Self {
        Self { work, joblog, handler: None, one_by_one: 0 }
    }

    /// Executes messages that follow each other.
    pub(crate) fn execute(
        &mut self,
        messages: Vec<Message>,
        progress: &mut Progress<'a>,
    ) -> Result<(), Error> {
        let item = |message| Item { message, hand: Hand::default(), state: State::Due(None) };
        let mut items: VecDeque<Item> = messages.into_iter().map(item).collect();
        if let Some(first) = items.front_mut() {
            first.hand = progress.take_up(first.message.own);
            if first.hand.0.deaths > 0 {
                self.one_by_one = first.message.own + ONE_BY_ONE;
            }
            if first.hand.is_poison() {
                first.state = State::Dead(letter::POISON.to_owned());
            }
        }
        let outcome = self.execute_all(&mut items, progress);
        if outcome.is_err() {
            // Neither a failure nor a death.
            if let Some(first) = items.front_mut() {
                first.hand.leave();
                progress.set_in_hand(first.message.own, &first.hand);
            }
            self.end()?;
        }
        outcome
    }

    fn execute_all(
        &mut self,
        items: &mut VecDeque<Item>,
        progress: &mut Progress<'a>,
    ) -> Result<(), Error> {
        loop {
            count(items, progress)?;
            let Some(first) = items.front() else { return Ok(()) };
            let own = first.message.own;
            self.ask(items, progress)?;
            let Some(handler) = &mut self.handler else {
                // All are waiting for their pause to be over.
                progress.set_in_hand(own, &items[0].hand);
                progress.log_ready()?;
                wait_for(&mut [], pause(items))?;
                progress.look()?;
                continue;
            };
            let seen = match handler.exchange()? {
                Seen::Nothing => {
                    // The next life of this worker may read it, if this one dies in it.
                    progress.set_in_hand(own, &items[0].hand);
                    progress.log_ready()?;
                    handler.wait(&self.work, pause(items))?;
                    progress.look()?;
                    handler.overdue(&self.work)
                }
                seen => seen,
            };
            let seen = match seen {
                Seen::Failed(ended) => Some(ended),
                _ => self.take_answers(items, progress)?,
            };
            if let Some(ended) = seen {
                self.fail(ended, items, progress)?;
            }
        }
    }

    /// Hands out what is due.
    fn ask(&mut self, items: &mut VecDeque<Item>, progress: &Progress<'a>) -> Result<(), Error> {
        let now = Instant::now();
        let one_by_one = items[0].message.own < self.one_by_one;
        let some = if one_by_one { 1 } else { items.len() };
        let is_due = |item: &Item| match item.state {
            State::Due(at) => at.is_none_or(|at| at <= now),
            _ => false,
        };
        if !items.iter().take(some).any(is_due) {
            return Ok(());
        }
        if self.handler.as_mut().is_some_and(|handler| !handler.is_sound()) {
            self.end_unsound(progress)?;
        }
        if self.handler.is_none() {
            let first = message_key(progress.session(), items[0].message.own);
            self.handler = Some(Handler::start(&self.work, first, progress)?);
        }
        let Some(handler) = &mut self.handler else { return Ok(()) };
        let (worker, session) = (progress.worker(), progress.session());
        let workers = progress.workers()?;
        let since_ms = now_ms();
        for item in items.iter_mut().take(some).filter(|item| is_due(item)) {
            item.hand.begin(since_ms);
            item.state = State::Asked;
            let Message { own, index, text } = &item.message;
            let number = workers.message_of(worker, *own) + 1;
            // Writing to a Vec cannot fail.
            let _ = writeln!(
                handler.outbox,
                "{session:016x}-{number}\t{}\t{index}\t{text}",
                item.hand.0.attempt
            );
            if handler.asked.is_empty() {
                handler.since = now;
            }
            handler.asked.push_back(*own);
        }
        Ok(())
    }

    /// Reads the answers that have come. Returns what is no answer.
    fn take_answers(
        &mut self,
        items: &mut VecDeque<Item>,
        progress: &Progress<'a>,
    ) -> Result<Option<Ended>, Error> {
        let Some(handler) = &mut self.handler else { return Ok(None) };
        let (worker, workers) = (progress.worker(), progress.workers()?);
        let prefix = format!("{:016x}-", progress.session());
        let inbox = std::mem::take(&mut handler.inbox);
        let mut rest = &inbox[..];
        let now = Instant::now();
        let first = items_first(items);
        let mut wrong = None;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let Some(&own) = handler.asked.front() else {
                break;
            };
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let number = workers.message_of(worker, own) + 1;
            let answer = line
                .strip_prefix(prefix.as_bytes())
                .and_then(|line| line.split_once_tab())
                .filter(|(id, _)| is_number(id, number))
                .and_then(|(_, answer)| parse(answer));
            let Some(answer) = answer else {
                let shown = shown(line);
                wrong = Some(Ended::Wrong(format!("wrong answer: {shown}")));
                break;
            };
            handler.since = now;
            if let Said::Ended(ended) = answer {
                handler.asked.pop_front();
                let item = &mut items[(own - first) as usize];
                end_attempt(item, &ended, &self.work, now);
                log(&mut self.joblog, &self.work, item, number, &ended)?;
            }
        }
        if wrong.is_none() && rest.len() > CHUNK {
            let why = format!("an answer of more than {CHUNK} bytes");
            wrong = (!handler.asked.is_empty()).then_some(Ended::Wrong(why));
        }
        handler.inbox = rest.to_vec();
        if handler.asked.is_empty() && !handler.inbox.is_empty() {
            self.end_unsound(progress)?; // no message is to blame
        }
        Ok(wrong)
    }

    /// The oldest message that COMMAND has is what it failed in; it is started again.
    fn fail(
        &mut self,
        ended: Ended,
        items: &mut VecDeque<Item>,
        progress: &Progress<'a>,
    ) -> Result<(), Error> {
        let asked = self.handler.as_mut().map(|handler| std::mem::take(&mut handler.asked));
        let status = self.end()?;
        let mut asked = asked.into_iter().flatten();
        let Some(oldest) = asked.next() else { return Ok(()) };
        let ended = match (ended, status) {
            (Ended::Exit(_), Some(status)) => status,
            (ended, _) => ended,
        };
        let first = items_first(items);
        for own in asked {
            let item = &mut items[(own - first) as usize];
            item.hand.leave();
            item.state = State::Due(None);
        }
        let item = &mut items[(oldest - first) as usize];
        if matches!(ended, Ended::Exit(126 | 127)) {
            item.hand.withdraw();
            return Err(cannot_be_run(progress.worker(), &self.work, &ended));
        }
        let ended = match ended {
            Ended::Exit(_) | Ended::Signal(_) => {
                Ended::Wrong(format!("ended without an answer: {ended}"))
            }
            ended => ended,
        };
        end_attempt(item, &ended, &self.work, Instant::now());
        let number = progress.workers()?.message_of(progress.worker(), oldest) + 1;
        log(&mut self.joblog, &self.work, item, number, &ended)
    }

    fn end_unsound(&mut self, progress: &Progress<'a>) -> Result<(), Error> {
        let worker = progress.worker();
        common::tell!(
            "worker {worker}: COMMAND ended, or wrote what it was not asked; starting it again"
        );
        self.end().map(drop)
    }

    /// Ends the COMMAND that is kept.
    fn end(&mut self) -> Result<Option<Ended>, Error> {
        let Some(handler) = self.handler.take() else { return Ok(None) };
        handler.running.end(self.work.grace).map(|status| Some(status.into()))
    }

    /// Nothing comes any more: it is to end by itself.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if let Some(handler) = &mut self.handler {
            handler.stdin = None;
            let until = Instant::now() + self.work.grace;
            while signals::aborted_by().is_none() && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                let mut seen = [handler.running.handle()];
                if wait_for(&mut seen, left.min(TICK))? {
                    break;
                }
            }
        }
        self.end().map(drop)
    }
}

impl<'a> Handler<'a> {
    fn start(work: &Work, first: u64, progress: &Progress<'a>) -> Result<Self, Error> {
        let (instance, worker) = (progress.instance(), progress.worker());
        let place = |key| place(instance, worker, key);
        let look: Look<'_> = &mut || progress.look();
        // What an earlier life of this worker left, which may have had no --lines.
        place(LINES_KEY).clear(look)?;
        place(first).clear(look)?;
        let args = work.command[1..].iter().map(|arg| match arg.to_str() {
            Some("{%}") => worker.to_string().into(),
            _ => arg.clone(),
        });
        let args: Vec<OsString> = args.collect();
        let mut command = Command::new(&work.command[0]);
        command.args(args).env("LB_WORKER", worker.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(place(LINES_KEY), &mut command, look)?;
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
    fn is_sound(&mut self) -> bool {
        if !self.asked.is_empty() {
            return true;
        }
        let seen = self.exchange();
        self.inbox.is_empty()
            && self.closed.is_none()
            && !matches!(seen, Ok(Seen::Failed(_)) | Err(_))
    }

    /// Writes and reads what can be without waiting.
    fn exchange(&mut self) -> Result<Seen, Error> {
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
    fn wait(&self, work: &Work, pause: Duration) -> Result<(), Error> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let mut limit = pause;
        if let Some(timeout) = work.timeout.filter(|_| !self.asked.is_empty()) {
            limit = limit.min(until(self.since + timeout));
        }
        if let Some((closed, _)) = self.closed {
            limit = limit.min(until(closed + work.grace));
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
    fn overdue(&self, work: &Work) -> Seen {
        let timeout = work.timeout.filter(|_| !self.asked.is_empty());
        match (timeout, self.closed) {
            (Some(timeout), _) if self.since.elapsed() >= timeout => {
                Seen::Failed(Ended::TimedOut(timeout))
            }
            (_, Some((closed, which))) if closed.elapsed() >= work.grace => {
                Seen::Failed(Ended::Wrong(format!("it closed its {which}")))
            }
            _ => Seen::Nothing,
        }
    }
}

fn place(instance: &Instance, worker: WorkerId, key: u64) -> Place<'_> {
    Place { instance, attempt: (worker, key) }
}

/// Counts what is over, up to the first message that is not.
fn count(items: &mut VecDeque<Item>, progress: &mut Progress<'_>) -> Result<(), Error> {
    let mut executed = None;
    while let Some(Item { message, hand, state }) = items.front() {
        match state {
            State::Done => {}
            State::Dead(outcome) => {
                // Not together: killed behind the letter, this worker would have the others to do again.
                if let Some(executed) = executed {
                    progress.count(executed);
                }
                let stderr = String::new();
                letter::write(message, hand, outcome.clone(), stderr, progress)?;
            }
            _ => break,
        }
        executed = Some(message.own + 1);
        items.pop_front();
    }
    executed.map_or(Ok(()), |executed| {
        progress.count(executed);
        progress.log_if_many()
    })
}

/// The own number of the first message that is not counted.
fn items_first(items: &VecDeque<Item>) -> u64 {
    items.front().map_or(0, |item| item.message.own)
}

/// How long until a message's pause is over, as far as that is to be waited for.
fn pause(items: &VecDeque<Item>) -> Duration {
    let due = |item: &Item| if let State::Due(at) = item.state { at } else { None };
    let first = items.iter().filter_map(due).min();
    first.map_or(TICK, |at| at.saturating_duration_since(Instant::now()).min(TICK))
}

fn end_attempt(item: &mut Item, ended: &Ended, work: &Work, now: Instant) {
    item.state = match item.hand.end(ended, work) {
        Next::Done => State::Done,
        Next::Again(pause) => State::Due(Some(now + pause)),
        Next::Dead | Next::Stop => State::Dead(ended.to_string()),
    };
}

fn log(
    joblog: &mut Option<Joblog>,
    work: &Work,
    item: &Item,
    seq: u64,
    ended: &Ended,
) -> Result<(), Error> {
    let Some(joblog) = joblog else { return Ok(()) };
    let words = work.command.iter().map(OsString::as_os_str);
    let job = Job {
        seq,
        begun_ms: item.hand.0.since_ms,
        ended_ms: now_ms(),
        sent: item.message.text.len() as u64 + 1,
        received: 0,
        ended,
        command: &quoted(words.chain([item.message.text.as_ref().as_ref()])),
    };
    joblog.write(&job)
}

fn parse(answer: &[u8]) -> Option<Said> {
    let (verb, reason) = answer.split_once_tab().unwrap_or((answer, b""));
    let kind = match verb {
        b"ok" if reason.is_empty() => Answer::Ok,
        b"retry" => Answer::Retry,
        b"dead" => Answer::Dead,
        b"alive" if reason.is_empty() => return Some(Said::Alive),
        _ => return None,
    };
    Some(Said::Ended(Ended::Answer(kind, shown(reason))))
}

/// Bytes of a COMMAND's, fit for a terminal.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(REASON_LEN)];
    let text = String::from_utf8_lossy(cut);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn is_number(digits: &[u8], number: u64) -> bool {
    !digits.starts_with(b"+")
        && str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) == Some(number)
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

trait SplitTab {
    fn split_once_tab(&self) -> Option<(&[u8], &[u8])>;
}

impl SplitTab for [u8] {
    fn split_once_tab(&self) -> Option<(&[u8], &[u8])> {
        let at = self.iter().position(|&byte| byte == b'\t')?;
        Some((&self[..at], &self[at + 1..]))
    }
}
