//! What a worker does with a message. At least once: a worker that is killed after this and before it has counted the
//! message gets it again.
//!
//! Where a worker keeps how far it has come is its own affair ([`Progress`]): in a ledger, or in a stream.
#![forbid(unsafe_code)]

mod echo;
pub mod hand;
mod joblog;
mod leftover;
mod letter;
mod lines;
mod once;
mod output;
mod process;
mod wait;

use std::ffi::OsString;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::dead::Letter;
use common::error::{Error, heed_signals};
use common::grammar::message_id::MessageId;
use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::instance::directory::KeyOf;
use common::program::work::Work;

use echo::Echo;
use hand::{Ended, Hand};
use joblog::Joblog;
use lines::Lines;
use once::Once;
use process::{Look, Place, TICK, cannot_run};
use wait::wait_for;

/// How far a worker has come in its session, and where that is kept.
pub trait Progress<'a> {
    /// Where COMMAND is executed for, with the locks that show what is alive of it.
    fn instance(&self) -> &'a Instance;
    /// Whose it is.
    fn worker(&self) -> WorkerId;
    /// The session's number.
    fn session(&self) -> u64;
    /// N, which whoever sent a message knew.
    fn workers(&self) -> Result<Workers, Error>;
    /// Looked at while a COMMAND runs: an error if it is to be ended.
    fn look(&self) -> Result<(), Error>;
    /// What is known of the tries of this worker's own message of that number; and whether an earlier life of it left them.
    fn take_up(&self, own: u64) -> Result<(Hand, bool), Error>;
    /// Keeps that, for this worker's next life.
    fn set_in_hand(&self, own: u64, hand: &Hand) -> Result<(), Error>;
    /// So many messages are executed in all. It may be nothing new.
    fn count(&mut self, executed: u64);
    /// This worker has much to do: shows what is executed, if that is much.
    fn log_if_many(&mut self) -> Result<(), Error>;
    /// This worker is about to wait: shows what is executed.
    fn log_ready(&mut self) -> Result<(), Error>;
    /// Keeps a letter for good. Its message counts only after that.
    fn keep_letter(&self, letter: &Letter) -> Result<(), Error>;

    /// What names this worker's own message of that number.
    fn id(&self, own: u64) -> Result<MessageId, Error> {
        let message = self.workers()?.message_of(self.worker(), own);
        Ok(MessageId { session: self.session(), message })
    }
}

/// A message.
pub struct Message {
    /// This worker's own number of it, from 0.
    pub own: u64,
    /// Its number in its submission, from 1.
    pub index: u32,
    /// What it carries.
    pub text: Rc<str>,
}

/// Does with messages what was asked for.
pub struct Executor<'a> {
    how: How<'a>,
    /// What is to be done with a COMMAND, once its frame has proved sound.
    taken: Vec<Message>,
}

enum How<'a> {
    /// Nothing but, if asked for, to print it.
    Echo(Echo),
    /// Starts COMMAND for each.
    Once(Once),
    /// Hands them to a COMMAND that is kept.
    Lines(Box<Lines<'a>>),
}

impl<'a> Executor<'a> {
    /// `echo`: without a COMMAND messages are printed.
    pub fn new(echo: bool, work: &Work) -> Result<Self, Error> {
        let joblog = work.joblog.as_deref().map(Joblog::open).transpose()?;
        let how = match work {
            work if !work.is_any() => How::Echo(Echo::new(echo)),
            work if work.lines => How::Lines(Box::new(Lines::new(work.clone(), joblog)?)),
            work => How::Once(Once::new(work.clone(), joblog)?),
        };
        Ok(Self { how, taken: Vec::new() })
    }

    /// Takes one message, as a frame has it. Returns false if it is none of ours.
    pub fn take(&mut self, own: u64, text: &[u8], index: u32) -> Result<bool, Error> {
        if let How::Echo(echo) = &mut self.how {
            return echo.execute(text, index).map(|()| true);
        }
        let before = self.taken.last().filter(|last| last.text.as_bytes() == text);
        let text = match before {
            Some(last) => Rc::clone(&last.text),
            // It may reach a shell, or be a line for COMMAND.
            None => match Submission::new(text, 1) {
                Ok(submission) => submission.text().into(),
                Err(_) => return Ok(false),
            },
        };
        self.taken.push(Message { own, index, text });
        Ok(true)
    }

    /// What was taken is none of ours.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.taken.clear();
        if let How::Echo(echo) = &mut self.how { echo.flush() } else { Ok(()) }
    }

    /// Executes what was taken, and counts it: so many messages in all. A dead one counts, too.
    pub fn execute(&mut self, progress: &mut dyn Progress<'a>, all: u64) -> Result<(), Error> {
        let messages = std::mem::take(&mut self.taken);
        match &mut self.how {
            How::Echo(echo) => echo.flush()?,
            How::Once(once) if !messages.is_empty() => {
                for message in messages {
                    once.execute(&message, progress)?;
                    progress.count(message.own + 1);
                    progress.log_ready()?;
                }
                return Ok(());
            }
            How::Lines(lines) if !messages.is_empty() => return lines.execute(messages, progress),
            How::Once(_) | How::Lines(_) => {} // nothing new
        }
        progress.count(all);
        Ok(())
    }

    /// Nothing comes any more: ends what is kept.
    pub fn finish(&mut self) -> Result<(), Error> {
        if let How::Lines(lines) = &mut self.how { lines.finish() } else { Ok(()) }
    }
}

/// Ends a COMMAND that an earlier life of this worker has kept, also where this one is to start none.
pub fn end_kept(instance: &Instance, worker: WorkerId) -> Result<(), Error> {
    Place { instance, attempt: (worker, LINES_KEY) }.clear(None, &mut heed_signals)
}

/// Before an attempt of this worker's own message of that number: ends what an earlier life of this worker has left,
/// if it has left the message. That life may have had --lines, or not.
fn clear(own: u64, was_left: bool, progress: &dyn Progress<'_>) -> Result<(), Error> {
    let (instance, worker) = (progress.instance(), progress.worker());
    let look: Look<'_> = &mut || progress.look();
    let kept = was_left.then(|| format!("{LINES_VARIABLE}={}", lines_name(instance, worker)));
    Place { instance, attempt: (worker, LINES_KEY) }.clear(kept.as_deref(), look)?;
    let id = was_left.then(|| progress.id(own)).transpose()?;
    let mark = id.map(|id| format!("LB_ID={id}"));
    let attempt = (worker, message_key(progress.session(), own));
    Place { instance, attempt }.clear(mark.as_deref(), look)
}

/// What the attempts of a message have in common, and no other attempt.
fn message_key(session: u64, own: u64) -> u64 {
    session.wrapping_add(own)
}

/// The same for a COMMAND that is kept.
const LINES_KEY: u64 = 0;

/// COMMAND's arguments. One that is kept is started for no message: then only the worker is known.
fn args(
    work: &Work,
    worker: WorkerId,
    message: Option<&Message>,
) -> impl Iterator<Item = OsString> {
    let marked = move |arg: &OsString| match (arg.to_str(), message) {
        (Some("{}"), Some(message)) => message.text.to_string().into(),
        (Some("{#}"), Some(message)) => message.index.to_string().into(),
        (Some("{%}"), _) => worker.to_string().into(),
        _ => arg.clone(),
    };
    work.command[1..].iter().map(marked)
}

/// A variable in the environment of a COMMAND that is kept, by which that is found.
const LINES_VARIABLE: &str = "LB_LINES";

/// Its value: like a queue, it is one worker's of one directory.
fn lines_name(instance: &Instance, worker: WorkerId) -> String {
    let key = instance.directory().keys(KeyOf::Queue(worker)).next().unwrap_or_default();
    format!("{key:08x}")
}

/// That COMMAND says of itself that it cannot be run (as a shell does, and env(1)).
fn cannot_be_run(worker: WorkerId, work: &Work, ended: &Ended) -> Error {
    let why = format!("it ended with {ended}, which says so");
    cannot_run(worker, &work.command[0].to_string_lossy(), &why)
}

/// Waits, unless this worker is asked to end.
fn pause_for(time: Duration, progress: &dyn Progress<'_>) -> Result<(), Error> {
    let until = Instant::now() + time;
    loop {
        progress.look()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        wait_for(&mut [], left.min(TICK))?;
    }
}
