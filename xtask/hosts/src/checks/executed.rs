//! What COMMAND has written down, on whichever host: each message of the session at least once, and nothing else.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use common::dead::Letter;
use common::grammar::message_id::MessageId;

use crate::failure::Failure;

/// The messages that were executed.
#[derive(Debug)]
pub(super) struct Executed {
    session: Option<u64>,
    messages: u64,
    done: HashSet<u64>,
    again: u64,
    problems: Vec<String>,
}

impl Executed {
    /// In a session of so many messages.
    pub(super) fn new(session: Option<u64>, messages: u64) -> Self {
        Self { session, messages, done: HashSet::new(), again: 0, problems: Vec::new() }
    }

    /// A host's record; there is none where nothing was executed.
    pub(super) fn read(&mut self, record: &Path) -> Result<(), Failure> {
        match fs::read_to_string(record) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(text) => text.lines().for_each(|line| self.push(line)),
            Err(error) => return Err(Failure::system(record.display().to_string())(error)),
        }
        Ok(())
    }

    fn push(&mut self, line: &str) {
        match line.parse::<MessageId>() {
            Ok(id) if Some(id.session) == self.session && id.message < self.messages => {
                self.again += u64::from(!self.done.insert(id.message));
            }
            _ => self.problems.push(format!("`{line}` was executed, and is no message of the log")),
        }
    }

    /// How many were executed once more.
    pub(super) fn again(&self) -> u64 {
        self.again
    }

    /// What is wrong. A dead message's attempts may all have failed before COMMAND had it.
    pub(super) fn problems(mut self, letters: &[Letter]) -> Vec<String> {
        let dead = letters.iter().filter(|letter| Some(letter.id.session) == self.session);
        self.done.extend(dead.map(|letter| letter.id.message));
        let missing = (0..self.messages).filter(|message| !self.done.contains(message));
        let missing = missing.map(|message| format!("message {} was never executed", message + 1));
        self.problems.extend(missing);
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(record: &str) -> (u64, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), record).unwrap();
        let mut executed = Executed::new(Some(1), 2);
        executed.read(file.path()).unwrap();
        (executed.again(), executed.problems(&[]))
    }

    #[test]
    fn a_message_that_was_not_executed_or_is_none_is_found() {
        let [one, two] = ["0000000000000001-1\n", "0000000000000001-2\n"];
        assert_eq!(problems(&[two, one, two].concat()), (1, Vec::new()));
        for wrong in [
            one.to_owned(),
            [one, two, "0000000000000001-3\n"].concat(),
            [one, two, "0000000000000002-1\n"].concat(),
            [one, two, "0000\n"].concat(),
        ] {
            assert_eq!(problems(&wrong).1.len(), 1, "{wrong}");
        }
    }
}
