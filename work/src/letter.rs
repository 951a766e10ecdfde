//! Dead letters, as this worker writes them. One that is written is the end of its message, also where the worker
//! was killed before it counted that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::dead::Letter;
use common::error::Error;
use common::program::pause::pause;

use crate::hand::{Hand, now_ms};
use crate::{Message, Progress};

/// How often a full disk is tried again.
const ROOM_AGAIN: Duration = Duration::from_millis(500);

/// How the last attempt of a message ended in which its worker died too often.
pub(crate) const POISON: &str = "its worker died in it for the third time";

/// Writes one; waits where there is no room for it.
pub(crate) fn write(
    message: &Message,
    hand: &Hand,
    outcome: String,
    stderr: String,
    progress: &dyn Progress<'_>,
) -> Result<(), Error> {
    let time = |ms| {
        let time = UNIX_EPOCH + Duration::from_millis(ms);
        humantime::format_rfc3339_millis(time.min(SystemTime::now())).to_string()
    };
    let letter = Letter {
        id: progress.id(message.own)?,
        text: message.text.to_string(),
        index: message.index,
        worker: progress.worker().get(),
        attempts: hand.0.attempt,
        outcome,
        stderr,
        begun: time(hand.0.since_ms),
        died: time(now_ms()),
    };
    let (id, worker) = (letter.id, letter.worker);
    let mut reported = false;
    loop {
        match progress.keep_letter(&letter) {
            Err(error) if error.is_no_room() => {
                if !std::mem::replace(&mut reported, true) {
                    common::tell!("worker {worker}: {error}; waiting for room");
                }
            }
            Err(error) => return Err(error),
            Ok(()) => {
                // Reported after that: a terminal may stop whoever writes to it.
                common::tell!("worker {worker}: message {id} is dead: {}", letter.outcome);
                return Ok(());
            }
        }
        progress.look()?;
        pause(ROOM_AGAIN);
    }
}
