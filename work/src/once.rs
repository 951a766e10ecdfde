//! COMMAND started once for each message.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::error::Error;
use common::program::work::Work;

use crate::hand::{Ended, Hand, Next, now_ms};
use crate::joblog::{Job, Joblog};
use crate::letter;
use crate::output::Output;
use crate::process::{Place, Running};
use crate::{Message, Progress, args, cannot_be_run, clear, message_key, pause_for};

pub(crate) struct Once {
    work: Work,
    output: Output,
    joblog: Option<Joblog>,
}

impl Once {
    pub(crate) fn new(work: Work, joblog: Option<Joblog>) -> Result<Self, Error> {
        Ok(Self { work, output: Output::new()?, joblog })
    }

    /// Executes a message until it is done or dead.
    pub(crate) fn execute(
        &mut self,
        message: &Message,
        progress: &mut dyn Progress<'_>,
    ) -> Result<(), Error> {
        let (mut hand, was_left) = progress.take_up(message.own)?;
        clear(message.own, was_left, progress)?;
        let attempt = (progress.worker(), message_key(progress.session(), message.own));
        let place = Place { instance: progress.instance(), attempt };
        loop {
            if hand.is_poison() {
                let stderr = String::new();
                return letter::write(message, &hand, letter::POISON.to_owned(), stderr, progress);
            }
            hand.begin(now_ms());
            progress.set_in_hand(message.own, &hand)?;
            let ended = self.attempt(place, message, &hand, progress);
            if ended.is_err() {
                // Neither a failure nor a death. And a COMMAND that cannot be started has not begun.
                let never_began = matches!(ended, Err(Error::Worker { .. }));
                if never_began {
                    hand.withdraw();
                }
                hand.leave();
                progress.set_in_hand(message.own, &hand)?;
            }
            let ended = ended?;
            let next = hand.end(&ended, &self.work);
            // From here on the death of this worker is not this message's fault.
            progress.set_in_hand(message.own, &hand)?;
            self.log(message, &hand, &ended, progress)?;
            match next {
                Next::Done => return self.output.clear(),
                Next::Dead => {
                    let stderr = self.output.stderr_end()?;
                    letter::write(message, &hand, ended.to_string(), stderr, progress)?;
                    return self.output.clear();
                }
                Next::Stop => {
                    return Err(cannot_be_run(progress.worker(), &self.work, &ended));
                }
                Next::Again(pause) => {
                    self.output.clear()?;
                    pause_for(pause, progress)?;
                }
            }
        }
    }

    /// One attempt. With an error, nothing of it is left either.
    fn attempt(
        &mut self,
        place: Place<'_>,
        message: &Message,
        hand: &Hand,
        progress: &dyn Progress<'_>,
    ) -> Result<Ended, Error> {
        let (stdout, stderr) = self.output.stdio()?;
        let [program, ..] = &self.work.command[..] else { unreachable!("there is a COMMAND") };
        let mut command = Command::new(program);
        command
            .args(args(&self.work, progress.worker(), Some(message)))
            .env("LB_ID", progress.id(message.own)?.to_string())
            .env("LB_INDEX", message.index.to_string())
            .env("LB_WORKER", progress.worker().to_string())
            .env("LB_ATTEMPT", hand.0.attempt.to_string())
            .stdin(stdin_of(&message.text)?)
            .stdout(stdout)
            .stderr(stderr);
        let mut running = Running::start(place, &mut command, &mut || progress.look())?;
        drop(command); // and with it the copies of the output
        let until = self.work.time_limit().map(|timeout| Instant::now() + timeout);
        let waited = running.wait(until, &mut || progress.look());
        let grace = self.work.grace;
        let ended = match waited {
            Ok(true) if running.has_succeeded()? => {
                running.reap()?;
                if running.left_something()? {
                    // Aborted in this, it is not done.
                    if let Err(error) = self.output.settle(until, &mut || progress.look()) {
                        running.end(grace)?;
                        return Err(error);
                    }
                    self.output.print(progress.instance())?;
                    // What lives on may print on.
                    self.output = Output::new()?;
                }
                Ended::Exit(0)
            }
            Ok(true) => running.end(grace)?.into(),
            Ok(false) => {
                running.end(grace)?;
                Ended::TimedOut(self.work.time_limit().unwrap_or_default())
            }
            Err(error) => {
                running.end(grace)?;
                return Err(error);
            }
        };
        self.output.print(progress.instance())?;
        Ok(ended)
    }

    fn log(
        &mut self,
        message: &Message,
        hand: &Hand,
        ended: &Ended,
        progress: &dyn Progress<'_>,
    ) -> Result<(), Error> {
        let Some(joblog) = &mut self.joblog else { return Ok(()) };
        let received = self.output.stdout_len()?;
        let seq = progress.id(message.own)?.message + 1;
        let args: Vec<_> = args(&self.work, progress.worker(), Some(message)).collect();
        let words = [&self.work.command[0]].into_iter().chain(&args).map(OsString::as_os_str);
        joblog.write(&Job { seq, message, hand, ended, received }, words);
        Ok(())
    }
}

/// The text and a newline, and then the end: in a pipe, which holds that (`pipe(7)`: at least two pages). COMMAND
/// need not read it.
fn stdin_of(text: &str) -> Result<Stdio, Error> {
    let fill = || -> io::Result<Stdio> {
        let (from, mut to) = io::pipe()?;
        to.write_all(format!("{text}\n").as_bytes())?;
        Ok(from.into())
    };
    fill().map_err(Error::system("a pipe to COMMAND"))
}
