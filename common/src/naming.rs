//! A session's number, which no other session has, and which every attempt of a message names in `LB_ID`: also
//! the one after a reboot, when the ledger is gone. So it is kept with the log, in an extended attribute
//! (`xattr(7)`), beside the place where the session begins. Where the file system has none, or the file may only
//! grow, it is another one after that: better than one that another session had.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Display};
use std::fs::File;
use std::hash::BuildHasher;
use std::str::FromStr;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use serde::{Deserialize, Serialize};

use crate::instance::Instance;

const ATTRIBUTE: &str = "user.pipip.session";
/// Bytes that it has at most: two numbers and a blank.
const LEN_MAX: usize = 40;

/// Names a message: the same in every attempt, and no other message has it. In text it is the session's number in
/// 16 hexadecimal digits, `-`, and the message's number in the session, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MessageId {
    /// The session's number.
    pub session: u64,
    /// The message's number in it, from 0.
    pub message: u64,
}

/// Text is no message's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a message's ID: 16 hexadecimal digits, `-`, and a number from 1")]
pub struct MessageIdError;

/// The number of a session that begins at this byte of the log. Under the log's lock, before anything of the
/// session is in the log.
pub(crate) fn give(instance: &Instance, begun: u64) -> u64 {
    // Random, since a log may be emptied between two sessions: then both begin at the same place.
    let session = RandomState::new().hash_one(());
    let value = format!("{begun} {session:016x}");
    // If it cannot be kept, it goes with the ledger.
    let _ = fsetxattr(instance.log(), ATTRIBUTE, value.as_bytes(), XattrFlags::empty());
    session
}

/// The number that the session was given which begins there; or another one.
pub(crate) fn recall(instance: &Instance, begun: u64) -> u64 {
    let mut buffer = [0; LEN_MAX];
    let kept = fgetxattr(instance.log(), ATTRIBUTE, &mut buffer).ok().and_then(|len| {
        let (place, session) = str::from_utf8(buffer.get(..len)?).ok()?.split_once(' ')?;
        let session = u64::from_str_radix(session, 16).ok()?;
        (place.parse() == Ok(begun)).then_some(session)
    });
    kept.unwrap_or_else(|| give(instance, begun))
}

/// Gives a copy of a log the number that is kept with it.
pub(crate) fn copy(from: &File, to: &File) {
    let mut buffer = [0; LEN_MAX];
    if let Ok(len) = fgetxattr(from, ATTRIBUTE, &mut buffer) {
        // As above.
        let _ = fsetxattr(to, ATTRIBUTE, &buffer[..len], XattrFlags::empty());
    }
}

impl Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.session, self.message.wrapping_add(1))
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let parse = || {
            let (session, number) = text.split_once('-')?;
            let is_plain = session.len() == 16 && !text.contains('+');
            let session = u64::from_str_radix(session, 16).ok().filter(|_| is_plain)?;
            let message = number.parse::<u64>().ok()?.checked_sub(1)?;
            Some(Self { session, message })
        };
        parse().ok_or(MessageIdError)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for MessageId {
    type Error = MessageIdError;

    fn try_from(text: String) -> Result<Self, MessageIdError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::instance;

    #[test]
    fn a_number_is_recalled_where_it_was_given_and_nowhere_else() {
        let (_dir, a) = instance();
        let given = give(&a, 70);
        assert_eq!(recall(&a, 70), given);
        let (_other_dir, b) = instance();
        copy(a.log(), b.log());
        assert_eq!(recall(&b, 70), given);
        let other = recall(&a, 71);
        assert_ne!(other, given);
        assert_eq!(recall(&a, 71), other, "given, if there was none");
        assert_ne!(give(&a, 71), other, "as after the log was emptied");
    }

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let id = MessageId { session: 0xab, message: 0 };
        assert_eq!(id.to_string(), "00000000000000ab-1");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "ab-1", "00000000000000ab-0", "00000000000000ab-+1", "00000000000000ab1"] {
            assert_eq!(text.parse::<MessageId>(), Err(MessageIdError), "{text}");
        }
    }
}
