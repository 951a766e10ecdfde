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

mod answer;
mod handler;
mod items;

use std::ffi::OsString;
use std::io::Write;
use std::time::Instant;

use common::error::{Error, heed_signals};
use common::fence::signals;
use common::grammar::message_id::MessageId;
use common::program::work::Work;

use crate::hand::{Ended, now_ms};
use crate::joblog::{Job, Joblog};
use crate::output::Output;
use crate::process::TICK;
use crate::wait::wait_for;
use crate::{Message, Progress, cannot_be_run, clear, letter};
use answer::Said;
use handler::{CHUNK, Handler, Seen};
use items::{Item, Items, State};

/// After a worker has died, so many messages are handed out one by one: as many as may have been on their way.
/// So it shows which of them it dies of.
const ONE_BY_ONE: u64 = 4096;

pub(crate) struct Lines<'a> {
    work: Work,
    joblog: Option<Joblog>,
    handler: Option<Handler<'a>>,
    /// Only of its standard error: its standard output holds the answers.
    output: Output,
    /// Messages before this one are handed out one by one.
    one_by_one: u64,
    /// The first message was left by an earlier life of this worker, and what that has left is not ended yet.
    was_left: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(work: Work, joblog: Option<Joblog>) -> Result<Self, Error> {
        let output = Output::new()?;
        Ok(Self { work, joblog, handler: None, output, one_by_one: 0, was_left: false })
    }

    /// Executes messages that follow each other.
    pub(crate) fn execute(
        &mut self,
        messages: Vec<Message>,
        progress: &mut dyn Progress<'a>,
    ) -> Result<(), Error> {
        let mut items = Items::new(messages);
        if let Some(first) = items.first() {
            let own = first.message.own;
            (first.hand, self.was_left) = progress.take_up(own)?;
            self.was_left &= self.handler.is_none();
            if first.hand.0.deaths > 0 {
                self.one_by_one = own + ONE_BY_ONE;
            }
            if first.hand.is_poison() {
                // Perhaps no COMMAND is started any more, before which that would be done.
                clear(own, std::mem::take(&mut self.was_left), progress)?;
                let outcome = letter::POISON.to_owned();
                first.state = State::Dead { outcome, stderr: String::new() };
            }
        }
        if let Some(handler) = &mut self.handler {
            handler.running.reap_others();
        }
        let outcome = self.execute_all(&mut items, progress);
        if outcome.is_err() {
            if let Some(first) = items.first() {
                first.hand.leave(); // neither a failure nor a death
            }
            items.show_first(progress)?;
            self.end(progress)?;
        }
        outcome
    }

    fn execute_all(
        &mut self,
        items: &mut Items,
        progress: &mut dyn Progress<'a>,
    ) -> Result<(), Error> {
        loop {
            heed_signals()?;
            items.count(progress)?;
            if items.first().is_none() {
                return self.output.print_stderr(progress.instance());
            }
            self.ask(items, progress)?;
            let Some(handler) = &mut self.handler else {
                // All are waiting for their pause to be over.
                items.show_first(progress)?;
                progress.log_ready()?;
                wait_for(&mut [], items.pause())?;
                progress.look()?;
                continue;
            };
            let seen = match handler.exchange()? {
                Seen::Nothing => {
                    items.show_first(progress)?;
                    self.output.print_stderr(progress.instance())?;
                    progress.log_ready()?;
                    handler.wait(&self.work, items.pause())?;
                    progress.look()?;
                    handler.overdue(&self.work)
                }
                seen => seen,
            };
            let failed = match seen {
                Seen::Failed(ended) => Some(ended),
                _ => self.take_answers(items, progress)?,
            };
            if let Some(ended) = failed {
                self.fail(ended, items, progress)?;
            }
        }
    }

    /// Hands out what is due.
    fn ask(&mut self, items: &mut Items, progress: &dyn Progress<'a>) -> Result<(), Error> {
        let now = Instant::now();
        let Some(first) = items.first().map(|first| first.message.own) else { return Ok(()) };
        let some = if first < self.one_by_one { 1 } else { usize::MAX };
        if !items.some(some).any(|item| item.is_due(now)) {
            return Ok(());
        }
        if self.handler.as_mut().is_some_and(|handler| !handler.is_sound()) {
            self.end_unsound(progress)?;
        }
        if self.handler.is_none() {
            clear(first, std::mem::take(&mut self.was_left), progress)?;
            self.handler = Some(Handler::start(&self.work, &self.output, progress)?);
        }
        let Some(handler) = &mut self.handler else { return Ok(()) };
        let (worker, session) = (progress.worker(), progress.session());
        let workers = progress.workers()?;
        let since_ms = now_ms();
        for item in items.some(some).filter(|item| item.is_due(now)) {
            item.hand.begin(since_ms);
            item.state = State::Asked;
            let Message { own, index, text } = &item.message;
            let id = MessageId { session, message: workers.message_of(worker, *own) };
            let attempt = item.hand.0.attempt;
            // Writing to a Vec cannot fail.
            let _ = writeln!(handler.outbox, "{id}\t{attempt}\t{index}\t{text}");
            if handler.asked.is_empty() {
                // Not from before it was started: the one before it may have taken long to end.
                handler.since = Instant::now();
            }
            handler.asked.push_back(*own);
        }
        // Before COMMAND can see it.
        items.show_first(progress)?;
        Ok(())
    }

    /// Reads the answers that have come. Returns what is no answer.
    fn take_answers(
        &mut self,
        items: &mut Items,
        progress: &dyn Progress<'a>,
    ) -> Result<Option<Ended>, Error> {
        let Some(handler) = &mut self.handler else { return Ok(None) };
        let (worker, workers) = (progress.worker(), progress.workers()?);
        let prefix = format!("{:016x}-", progress.session());
        let inbox = std::mem::take(&mut handler.inbox);
        let mut rest = &inbox[..];
        let now = Instant::now();
        let mut wrong = None;
        while let Some(end) = memchr::memchr(b'\n', rest)
            && let Some(&own) = handler.asked.front()
        {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let number = workers.message_of(worker, own) + 1;
            let said = answer::read(line, prefix.as_bytes(), number);
            let Some((said, item)) = said.zip(items.get(own)) else {
                wrong = Some(Ended::Wrong(format!("wrong answer: {}", answer::shown(line))));
                break;
            };
            handler.since = now;
            if let Said::Ended(ended) = said {
                handler.asked.pop_front();
                item.end(&ended, &self.work, || self.output.stderr_end().unwrap_or_default());
                log(self.joblog.as_mut(), &self.work, item, number, &ended);
            }
        }
        if wrong.is_none() && rest.len() > CHUNK && !handler.asked.is_empty() {
            wrong = Some(Ended::Wrong(format!("an answer of more than {CHUNK} bytes")));
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
        items: &mut Items,
        progress: &dyn Progress<'a>,
    ) -> Result<(), Error> {
        let asked = self.handler.as_mut().map(|handler| std::mem::take(&mut handler.asked));
        let status = self.end(progress)?;
        let mut asked = asked.into_iter().flatten();
        let Some(oldest) = asked.next() else { return Ok(()) };
        for own in asked {
            if let Some(item) = items.get(own) {
                item.hand.leave();
                item.state = State::Due(None);
            }
        }
        let Some(item) = items.get(oldest) else { return Ok(()) };
        let ended = match (ended, status) {
            (Ended::Exit(_), Some(Ended::Exit(code @ (126 | 127)))) => {
                item.hand.withdraw();
                return Err(cannot_be_run(progress.worker(), &self.work, &Ended::Exit(code)));
            }
            (Ended::Exit(_), Some(status)) => {
                Ended::Wrong(format!("ended without an answer: {status}"))
            }
            (ended, _) => ended,
        };
        item.end(&ended, &self.work, || self.output.stderr_end().unwrap_or_default());
        let number = progress.id(oldest)?.message + 1;
        log(self.joblog.as_mut(), &self.work, item, number, &ended);
        Ok(())
    }

    fn end_unsound(&mut self, progress: &dyn Progress<'a>) -> Result<(), Error> {
        let worker = progress.worker();
        common::tell!(
            "worker {worker}: COMMAND ended, or wrote what it was not asked; starting it again"
        );
        self.end(progress).map(drop)
    }

    /// Ends the COMMAND that is kept.
    fn end(&mut self, progress: &dyn Progress<'a>) -> Result<Option<Ended>, Error> {
        let Some(handler) = self.handler.take() else { return Ok(None) };
        let status = handler.running.end(self.work.grace)?;
        self.output.print_stderr(progress.instance())?;
        Ok(Some(status.into()))
    }

    /// Nothing comes any more: it is to end by itself.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let Some(mut handler) = self.handler.take() else { return Ok(()) };
        handler.stdin = None;
        let until = Instant::now() + self.work.grace;
        while signals::aborted_by().is_none() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            if wait_for(&mut [handler.running.handle()], left.min(TICK))? {
                break;
            }
        }
        let instance = handler.running.instance();
        handler.running.end(self.work.grace)?;
        self.output.print_stderr(instance)
    }
}

fn log(joblog: Option<&mut Joblog>, work: &Work, item: &Item, seq: u64, ended: &Ended) {
    let Some(joblog) = joblog else { return };
    let Item { message, hand, .. } = item;
    let words = work.command.iter().map(OsString::as_os_str);
    let words = words.chain([message.text.as_ref().as_ref()]);
    joblog.write(&Job { seq, message, hand, ended, received: 0 }, words);
}
