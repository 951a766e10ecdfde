//! `--joblog`: a line for each attempt, in the columns of GNU parallel's.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use common::error::Error;
use common::program::advice;
use nix::libc;

use crate::Message;
use crate::hand::{Answer, Ended, Hand, now_ms};

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

pub(crate) struct Joblog {
    file: File,
    path: PathBuf,
    /// That it cannot be written.
    reported: Once,
}

/// An attempt that has ended.
pub(crate) struct Job<'a> {
    /// The message's number in its session, from 1.
    pub(crate) seq: u64,
    pub(crate) message: &'a Message,
    pub(crate) hand: &'a Hand,
    pub(crate) ended: &'a Ended,
    /// Bytes that COMMAND printed.
    pub(crate) received: u64,
}

impl Joblog {
    /// Opens it, and begins it if nobody has.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let begin = || {
            // A FIFO without a reader must not be waited for.
            let wary = libc::O_NONBLOCK | libc::O_NOCTTY;
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).custom_flags(wary).open(path)?;
            if file.metadata()?.is_file() {
                file.lock()?; // all workers come at once
                if file.metadata()?.len() == 0 {
                    (&file).write_all(HEADER.as_bytes())?;
                }
                file.unlock()?;
            }
            Ok(file)
        };
        let path = path.to_owned();
        match begin() {
            Ok(file) => Ok(Self { file, path, reported: Once::new() }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Writes a line; `command` is what was executed.
    pub(crate) fn write<'a>(
        &mut self,
        job: &Job<'_>,
        command: impl IntoIterator<Item = &'a OsStr>,
    ) {
        let (exitval, signal) = match job.ended {
            Ended::Exit(code) => (*code, 0),
            Ended::Signal(signal) => (0, *signal),
            // As GNU parallel has it after --timeout.
            Ended::TimedOut(_) => (-1, 15),
            Ended::Answer(Answer::Ok, _) => (0, 0),
            // EX_TEMPFAIL, EX_DATAERR and EX_PROTOCOL of sysexits.h
            Ended::Answer(Answer::Retry, _) => (75, 0),
            Ended::Answer(Answer::Dead, _) => (65, 0),
            Ended::Wrong(_) => (76, 0),
        };
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let Job { seq, received, message, hand, .. } = job;
        let begun = hand.0.since_ms;
        let (begun, took) = (seconds(begun), seconds(now_ms().saturating_sub(begun)));
        let (sent, command) = (message.text.len() + 1, quoted(command)); // its newline, too
        let line = format!(
            "{seq}\t:\t{begun}\t{took:>10}\t{sent}\t{received}\t{exitval}\t{signal}\t{command}\n"
        );
        // One write: lines of several workers do not mix.
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // The work is done all the same.
            self.reported.call_once(|| {
                let path = self.path.display();
                common::tell!(
                    "worker: {path}: {error}; lines of attempts are missing there from now on"
                );
            });
        }
    }
}

/// A command as one would type it.
fn quoted<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    words.into_iter().map(advice::word).collect::<Vec<_>>().join(" ")
}
