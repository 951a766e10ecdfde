//! What names a message.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
