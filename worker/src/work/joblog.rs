//! `--joblog`: a line for each attempt, in the columns of GNU parallel's.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use common::error::Error;
use nix::libc;

use crate::work::hand::{Answer, Ended};

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

pub(crate) struct Joblog {
    file: File,
    path: PathBuf,
    /// That it cannot be written.
    told: Once,
}

/// An attempt that has ended.
pub(crate) struct Job<'a> {
    /// The message's number in its session, from 1.
    pub(crate) seq: u64,
    pub(crate) begun_ms: u64,
    pub(crate) ended_ms: u64,
    /// Bytes that COMMAND got, and printed.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) ended: &'a Ended,
    pub(crate) command: &'a str,
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
            Ok(file) => Ok(Self { file, path, told: Once::new() }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    pub(crate) fn write(&mut self, job: &Job<'_>) {
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
        let Job { seq, sent, received, command, .. } = job;
        let (begun, took) =
            (seconds(job.begun_ms), seconds(job.ended_ms.saturating_sub(job.begun_ms)));
        let line = format!(
            "{seq}\t:\t{begun}\t{took:>10}\t{sent}\t{received}\t{exitval}\t{signal}\t{command}\n"
        );
        // One write: lines of several workers do not mix.
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // The work is done all the same.
            self.told.call_once(|| {
                let path = self.path.display();
                common::tell!(
                    "worker: {path}: {error}; lines of attempts are missing there from now on"
                );
            });
        }
    }
}

/// A command as one would type it.
pub(crate) fn quoted<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    let words = words.into_iter().map(|word| {
        let word = word.to_string_lossy();
        let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
        match word.as_ref() {
            plain if !plain.is_empty() && plain.chars().all(is_plain) => plain.to_owned(),
            other if other.contains(char::is_control) => {
                format!("$'{}'", other.as_bytes().escape_ascii())
            }
            other => format!("'{}'", other.replace('\'', r"'\''")),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
