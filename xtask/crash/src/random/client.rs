//! A client, over all its lives: each one submits what the earlier ones got no `accepted` for.

use std::io::{PipeWriter, Write};
use std::process::Command;
use std::thread::{self, JoinHandle};

use common::grammar::submission::Submission;
use tests::{Process, Sandbox};

use super::plan::{Feed, Feeding};

/// One life.
pub(crate) struct Life {
    pub(crate) process: Process,
    /// What it was given, and which of the plan's submissions each is.
    pub(crate) given: Vec<(usize, Submission)>,
    feeder: Option<JoinHandle<()>>,
}

pub(crate) struct Client {
    index: usize,
    feeding: Feeding,
    pub(crate) lives: Vec<Life>,
    /// The newest life has not been seen to end.
    pub(crate) is_running: bool,
}

impl Life {
    /// How many of the given ones it printed `accepted` for: always the first ones. A half line,
    /// cut off by a kill, does not count.
    pub(crate) fn accepted(&self) -> Result<usize, String> {
        let stdout = self.process.stdout();
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut number = 0;
        for line in whole.lines() {
            let expected = self.given.get(number).map(|(_, s)| format!("accepted {s}"));
            if expected.as_deref() != Some(line) {
                return Err(format!("a client printed `{line}`, not `{expected:?}`"));
            }
            number += 1;
        }
        Ok(number)
    }
}

impl Client {
    pub(crate) fn new(index: usize, feeding: &Feeding) -> Self {
        Self { index, feeding: feeding.clone(), lives: Vec::new(), is_running: false }
    }

    /// Which of the plan's submissions no life was given an answer about.
    pub(crate) fn left(&self) -> Result<Vec<usize>, String> {
        let mut left: Vec<usize> = (0..self.feeding.submissions.len()).collect();
        for life in &self.lives {
            let accepted = life.accepted()?;
            left.retain(|index| !life.given[..accepted].iter().any(|(done, _)| done == index));
        }
        Ok(left)
    }

    /// Starts the next life, if anything is left. Returns whether it did.
    pub(crate) fn start(&mut self, sandbox: &Sandbox) -> Result<bool, String> {
        if self.is_running {
            return Ok(false);
        }
        let left = self.left()?;
        if left.is_empty() {
            return Ok(false);
        }
        let given: Vec<(usize, Submission)> =
            left.into_iter().map(|index| (index, self.submission(index))).collect();
        let mut args = Vec::new();
        if self.feeding.durable {
            args.push("--durable".to_owned());
        }
        if matches!(self.feeding.feed, Feed::Arguments) {
            args.extend(given.iter().map(|(_, submission)| submission.to_string()));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = sandbox.command("client", &args);
        let feeder = self.feed(&mut command, &given);
        let name = format!("client {} life {}", self.index, self.lives.len());
        let process = sandbox.start_command(command, &name);
        self.lives.push(Life { process, given, feeder });
        self.is_running = true;
        Ok(true)
    }

    /// Unique in the round: a life that was killed before it could say `accepted` may still have
    /// been heard, and the next life says it again.
    fn submission(&self, index: usize) -> Submission {
        let (len, count) = self.feeding.submissions[index];
        let mut text =
            format!("client {} submission {index} life {} ", self.index, self.lives.len());
        let filler = "Halo; ä (#message 1) ".chars().cycle();
        for c in filler {
            if text.len() + c.len_utf8() > len {
                break;
            }
            text.push(c);
        }
        Submission::new(text.as_bytes(), count).expect("texts of the plan are valid").to_owned()
    }

    fn feed(&self, command: &mut Command, given: &[(usize, Submission)]) -> Option<JoinHandle<()>> {
        let Feed::Pipe(pause) = self.feeding.feed else { return None };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(reader);
        let lines: Vec<String> = given.iter().map(|(_, s)| format!("{s}\n")).collect();
        Some(thread::spawn(move || write_lines(writer, &lines, pause)))
    }

    /// After the newest life has ended: its feeder ends too.
    pub(crate) fn ended(&mut self) {
        self.is_running = false;
        if let Some(feeder) = self.lives.last_mut().and_then(|life| life.feeder.take()) {
            let _ = feeder.join();
        }
    }
}

fn write_lines(mut writer: PipeWriter, lines: &[String], pause: std::time::Duration) {
    for line in lines {
        // The client was killed: the rest goes to its next life.
        if writer.write_all(line.as_bytes()).is_err() {
            return;
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
}
