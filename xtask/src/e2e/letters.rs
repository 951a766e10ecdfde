//! The dead letters after a run: how many there are, and that each can be true.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::path::Path;

use common::dead::{self, Letter};
use common::error::Error;
use common::grammar::message_id::MessageId;
use common::instance::directory::Directory;
use common::instance::line_file::LineFile;
use lbctl::terminal::{counted, shortened};

use super::scene::RunPlan;

/// What `sistem.dead` holds.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) dead: u64,
    /// How the first one ended.
    first: Option<String>,
    /// What cannot be.
    pub(super) wrong: Vec<String>,
}

impl Letters {
    /// Of the one session in a directory.
    pub(super) fn read(plan: &RunPlan<'_>, dir: &Path) -> Self {
        let mut letters = Self::default();
        if let Err(error) = letters.read_all(plan, dir) {
            letters.wrong.push(error.to_string());
        }
        letters
    }

    fn read_all(&mut self, plan: &RunPlan<'_>, dir: &Path) -> Result<(), Error> {
        let directory = Directory::open(dir)?;
        let Some(file) = LineFile::find(&directory, dead::NAME)? else { return Ok(()) };
        let mut known = BTreeSet::new();
        let end = file.read(0, |at, letter: Result<Letter, _>| {
            match letter {
                Ok(letter) => {
                    let wrong = wrong(plan, &known, &letter);
                    self.wrong.extend(wrong.map(|why| format!("message {}: {why}", letter.id)));
                    known.insert(letter.id);
                    self.first.get_or_insert(letter.outcome);
                }
                Err(_) => self.wrong.push(format!("no letter at byte {at}")),
            }
            Ok(())
        })?;
        if end != file.len()? {
            self.wrong.push("half a line at the end".to_owned());
        }
        self.dead = known.len() as u64;
        Ok(())
    }
}

/// Why a letter cannot be true after those that are known.
fn wrong(plan: &RunPlan<'_>, known: &BTreeSet<MessageId>, letter: &Letter) -> Option<String> {
    let id = letter.id;
    if known.contains(&id) {
        // Only a worker's death makes two of one, and nobody was killed.
        return Some("there are two letters of it".to_owned());
    }
    if known.first().is_some_and(|first| first.session != id.session) {
        return Some("it is of another session".to_owned());
    }
    if id.message >= plan.messages() {
        return Some("there are not so many".to_owned());
    }
    let turn = plan.workers.worker_of(id.message).get();
    if letter.worker != turn {
        return Some(format!("it is worker {turn}'s, not worker {}'s", letter.worker));
    }
    let is_given = plan
        .inputs
        .iter()
        .any(|input| input.text() == letter.text && letter.index <= input.count());
    (!is_given).then(|| {
        let text = shortened(&letter.text);
        format!("`{text}` (#message {}) was not given", letter.index)
    })
}

impl Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.first {
            None => f.write_str("none"),
            Some(outcome) => {
                write!(f, "{}, the first by {}", counted(self.dead, "letter"), shortened(outcome))
            }
        }
    }
}
