//! Dead letters: the messages whose execution failed for good, in `sistem.dead` beside the log. A letter is
//! written before its message counts as executed. Killed in between, its next life finds the letter, and only counts the
//! message; if the last byte of it was missing, one may be there twice, under one id.

pub mod settled;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, exit};
use crate::grammar::message_id::MessageId;
use crate::instance::directory::Directory;
use crate::instance::line_file::LineFile;
use crate::program::advice;

/// The name of the file with the letters, in the log's directory.
pub const NAME: &str = crate::grammar::DEAD_NAME;
/// So much is kept of what COMMAND wrote to its standard error last.
pub const STDERR_LEN: usize = 4096;

/// One dead message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// What `LB_ID` was.
    pub id: MessageId,
    /// What the message carries.
    pub text: String,
    /// Its number within its submission, from 1.
    pub index: u32,
    /// Whose it was.
    pub worker: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// How the last attempt ended.
    pub outcome: String,
    /// The last [`STDERR_LEN`] bytes of what that wrote to its standard error.
    pub stderr: String,
    /// When that began, and when the message was given up (RFC 3339, UTC).
    pub begun: String,
    /// See `begun`.
    pub died: String,
}

/// Says how many messages of somebody's are dead. Returns the exit code that follows from it.
#[must_use]
pub fn report(program: &str, dead: u64) -> u8 {
    if dead == 0 {
        return 0;
    }
    let list = advice::command("lbctl dead list", "");
    let are = if dead == 1 { "message is" } else { "messages are" };
    crate::tell!("{program}: {dead} {are} dead: see `{list}`");
    exit::PARTLY
}

/// How far somebody has read the letters.
#[derive(Debug, Default)]
pub struct Place {
    /// Where the next one will begin.
    from: u64,
    /// Each worker's newest one: it may come once more. A worker goes on to its next message only after one is counted.
    newest: HashMap<u32, MessageId>,
}

impl Place {
    /// Those that are there already are none of his affair.
    #[must_use]
    pub fn from(from: u64) -> Self {
        Self { from, newest: HashMap::new() }
    }
}

/// Hands out the letters of one session from a place on, each once. Moves the place.
pub fn of_session(
    directory: &Directory,
    session: u64,
    place: &mut Place,
    mut each: impl FnMut(MessageId),
) -> Result<(), Error> {
    /// Of a letter, this is enough.
    #[derive(Deserialize)]
    struct Head {
        id: MessageId,
        worker: u32,
    }
    let Some(file) = LineFile::find(directory, NAME)? else {
        *place = Place::default();
        return Ok(());
    };
    let newest = &mut place.newest;
    place.from = file.read(place.from, |_, letter: Result<Head, _>| {
        if let Ok(Head { id, worker }) = letter
            && id.session == session
            && newest.insert(worker, id) != Some(id)
        {
            each(id);
        }
        Ok(())
    })?;
    Ok(())
}
