//! What became of dead letters: `sistem.dead.settled`, beside `sistem.dead`, which itself is never rewritten.
//!
//! # A letter is submitted anew exactly once
//!
//! It is submitted under the log's lock, in one holding of it:
//!
//! 1. the ledger's `retrying` is raised: whoever takes the lock next looks into this file first;
//! 2. `retrying` is appended here: which letter, its text, and how long the log is; it is on the disk before
//! 3. the submission is accepted, as any other one: a transaction, whose two lines come to just that place;
//! 4. `retried` is appended, and the ledger's `retrying` is lowered.
//!
//! Killed in between, the letter has an open `retrying`. The next holder of the log's lock, whoever that is, redoes
//! what is pending, and only then looks: nobody has written to the log in between, so what is at that place is
//! the submission, or it was never accepted (`resolve`). He appends `retried` or `withdrawn` before he writes
//! anything to the log. Where a ledger is made, because the one before is gone, this file is looked into anyway;
//! and before a log is set aside.
//!
//! So the state of a letter is certain after every kill, also after a power loss, since the log is on the disk
//! before `retried` is, and also where the ledger was removed. What is not: whether a submission was accepted
//! whose place in the log was cut, replaced or written over by another program, before anyone of ours had the
//! lock. It counts as not accepted then, so the letter stays, and may be submitted a second time.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::grammar::line;
use crate::grammar::message_id::MessageId;
use crate::grammar::submission::Submission;
use crate::instance::Instance;
use crate::instance::directory::Directory;
use crate::instance::line_file::LineFile;

/// The name of the file, in the log's directory.
pub const NAME: &str = "sistem.dead.settled";
/// The last entry is looked for in so many bytes at first.
const REACH: u64 = 1 << 14;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// About to be submitted anew.
    Retrying { id: MessageId, text: String, log_len: u64 },
    /// It was.
    Retried { id: MessageId },
    /// It was not.
    Withdrawn { id: MessageId },
    /// Nothing is to be done about it.
    Dropped { id: MessageId },
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its text was submitted anew.
    Retried,
    /// It was dropped.
    Dropped,
    /// A `retry` of it was cut short; the next holder of the log's lock finds out what came of that.
    Retrying,
}

/// What became of which letters, kept in memory: some 40 bytes each.
#[derive(Debug)]
pub struct Settled {
    file: LineFile,
    read_to: u64,
    fates: HashMap<MessageId, Fate>,
    open: Option<MessageId>,
    /// Where in the file lines are that are none.
    pub unreadable: Vec<u64>,
}

impl Settled {
    /// Opens the file; it is made if it is not there.
    pub fn open(directory: &Directory) -> Result<Self, Error> {
        Self::of(LineFile::open(directory, NAME)?)
    }

    /// Opens it if it is there.
    pub fn find(directory: &Directory) -> Result<Option<Self>, Error> {
        LineFile::find(directory, NAME)?.map(Self::of).transpose()
    }

    fn of(file: LineFile) -> Result<Self, Error> {
        let (fates, unreadable) = (HashMap::new(), Vec::new());
        let mut settled = Self { file, read_to: 0, fates, open: None, unreadable };
        settled.read()?;
        Ok(settled)
    }

    /// Reads on.
    pub(crate) fn read(&mut self) -> Result<(), Error> {
        let Self { fates, open, unreadable, .. } = self;
        self.read_to = self.file.read(self.read_to, |at, entry| {
            match entry {
                Ok(Entry::Retrying { id, .. }) => *open = Some(id),
                Ok(Entry::Withdrawn { .. }) => *open = None,
                Ok(Entry::Retried { id }) => {
                    *open = None;
                    fates.insert(id, Fate::Retried);
                }
                Ok(Entry::Dropped { id }) => {
                    fates.insert(id, Fate::Dropped);
                }
                Err(_) => unreadable.push(at),
            }
            Ok(())
        })?;
        Ok(())
    }

    /// What became of a letter, as far as that was read.
    #[must_use]
    pub fn fate(&self, id: MessageId) -> Option<Fate> {
        let open = (self.open == Some(id)).then_some(Fate::Retrying);
        self.fates.get(&id).copied().or(open)
    }

    /// The same, as of now. Under the log's lock, with nothing pending.
    pub(crate) fn fate_now(
        &mut self,
        instance: &Instance,
        id: MessageId,
    ) -> Result<Option<Fate>, Error> {
        self.read()?;
        if self.open.is_some() {
            resolve(instance)?;
            self.read()?;
        }
        Ok(self.fate(id))
    }

    /// Whether a `retry` was cut short, as far as that was read.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn append(&self, entry: &Entry, durable: bool) -> Result<(), Error> {
        self.file.append_locked(entry, durable)
    }
}

/// Finds out what came of a `retry` that was cut short, and says so in the file. Under the log's lock, before
/// anything is written to the log and after what was pending is redone. It is the last entry, since nobody appends
/// another one before.
pub(crate) fn resolve(instance: &Instance) -> Result<(), Error> {
    let Some(file) = LineFile::find(instance.directory(), NAME)? else { return Ok(()) };
    let Some(Entry::Retrying { id, text, log_len }) = last(&file)? else { return Ok(()) };
    let mut lines = Vec::new();
    if let Ok(submission) = Submission::new(text.as_bytes(), 1) {
        line::append_submission(&mut lines, &submission);
    }
    // What the file says is an allegation.
    let end = log_len.saturating_add(lines.len() as u64);
    let mut found = vec![0; lines.len()];
    if end <= instance.checked_log_len()? {
        instance.log().read_exact_at(&mut found, log_len).map_err(Error::Log)?;
    }
    let is_there = !lines.is_empty() && found == lines;
    let entry = if is_there { Entry::Retried { id } } else { Entry::Withdrawn { id } };
    file.append_locked(&entry, true)
}

/// The last whole entry. After it there may be halves of others, which a full disk left.
fn last(file: &LineFile) -> Result<Option<Entry>, Error> {
    let (len, mut reach) = (file.len()?, REACH);
    loop {
        // The first one is only the end of a line, which is no entry: within one there is no other.
        let from = len.saturating_sub(reach);
        let mut last = None;
        file.read(from, |_, entry| {
            last = entry.ok().or(last.take());
            Ok(())
        })?;
        if last.is_some() || from == 0 {
            return Ok(last);
        }
        reach *= 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::LOG_NAME;
    use crate::instance::tests::instance;

    fn of(message: u64) -> MessageId {
        MessageId { session: 1, message }
    }

    fn begun(instance: &Instance, text: &str, log_len: u64) -> LineFile {
        let file = LineFile::open(instance.directory(), NAME).unwrap();
        let entry = Entry::Retrying { id: of(0), text: text.to_owned(), log_len };
        file.append(&entry, false).unwrap();
        file
    }

    fn fate(instance: &Instance) -> Option<Fate> {
        Settled::find(instance.directory()).unwrap().unwrap().fate(of(0))
    }

    #[test]
    fn only_the_very_lines_at_the_very_place_are_the_submission() {
        let log = "Message from client: a\nMessage count: 1\n";
        let lost = &log[..log.len() - 1];
        let other = "Message from client: a\nMessage count: 10\n";
        let moved = format!("x{log}");
        let cases = [(log, true), (lost, false), (other, false), (&moved, false), ("", false)];
        for (contents, is_there) in cases {
            let (dir, instance) = instance();
            std::fs::write(dir.path().join(LOG_NAME), format!("12345{contents}more")).unwrap();
            let file = begun(&instance, "a", 5);
            assert_eq!(fate(&instance), Some(Fate::Retrying));
            resolve(&instance).unwrap();
            assert_eq!(fate(&instance), is_there.then_some(Fate::Retried), "{contents}");
            let len = file.len().unwrap();
            resolve(&instance).unwrap();
            assert_eq!(file.len().unwrap(), len, "once is enough");
        }
    }

    /// After it come halves of what a full disk did not take, and which could not be cut off.
    #[test]
    fn an_open_one_is_found_however_far_back_it_is() {
        let (dir, instance) = instance();
        let text = "\"".repeat(crate::grammar::submission::TEXT_LEN_MAX);
        let file = begun(&instance, &text, 0);
        let half = "{\"step\":\"retried\",\n".repeat(REACH as usize / 4);
        let before = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        std::fs::write(dir.path().join(NAME), before + &half).unwrap();
        assert!(file.len().unwrap() > 4 * REACH);
        resolve(&instance).unwrap();
        assert_eq!(fate(&instance), None);
        let Some(Entry::Withdrawn { .. }) = last(&file).unwrap() else { panic!("not withdrawn") };
    }

    /// Whatever is in the file, a session must be able to begin.
    #[test]
    fn one_that_is_no_submission_is_withdrawn() {
        let (_dir, instance) = instance();
        for (text, log_len) in [("two\nlines", 0), ("a", u64::MAX), ("a", 1 << 63)] {
            begun(&instance, text, log_len);
            resolve(&instance).unwrap();
            assert_eq!(fate(&instance), None);
        }
    }
}
