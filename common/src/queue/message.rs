//! What a load balancer sends to a worker. The type of the queue's message says which of these it is.

use crate::fence::message_queue::Message;

use super::frame::{FrameWriter, STRANGER};

const FRAME: i64 = 1;
const TOTAL_IS_DUE: i64 = 2;

/// Such a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Messages to execute: [`FrameReader`](super::frame::FrameReader) reads and checks them.
    Frame,
    /// Nothing follows: the worker's total may be logged. In the queue it is the session's number (8).
    TotalIsDue,
}

impl ToWorker {
    /// What it is that came, with `len` bytes. Whoever may write to the queue may have sent it.
    pub fn of(message: &Message, len: usize, session: u64) -> Result<Self, &'static str> {
        match message.kind {
            FRAME => Ok(Self::Frame),
            TOTAL_IS_DUE if message.bytes[..len] == session.to_le_bytes() => Ok(Self::TotalIsDue),
            _ => Err(STRANGER),
        }
    }
}

/// Begins a frame of at most `len_max` bytes, the first of whose messages is the worker's own of this number.
pub fn begin_frame(
    message: &mut Message,
    len_max: usize,
    session: u64,
    first: u64,
) -> FrameWriter<'_> {
    message.kind = FRAME;
    FrameWriter::new(&mut message.bytes[..len_max], session, first)
}

/// Asks for a worker's total. Returns the message's length.
pub fn put_total_is_due(message: &mut Message, session: u64) -> usize {
    message.kind = TOTAL_IS_DUE;
    let bytes = session.to_le_bytes();
    message.bytes[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_comes() {
        let mut message = Message::boxed();
        let len = put_total_is_due(&mut message, 7);
        assert_eq!(ToWorker::of(&message, len, 7), Ok(ToWorker::TotalIsDue));
        assert_eq!(ToWorker::of(&message, len, 8), Err(STRANGER));
        assert_eq!(ToWorker::of(&message, len - 1, 7), Err(STRANGER));
        let mut writer = begin_frame(&mut message, 64, 7, 0);
        writer.push(b"x", 0, 1, 1, 1).unwrap();
        let len = writer.finish();
        assert_eq!(ToWorker::of(&message, len, 7), Ok(ToWorker::Frame));
        message.kind = 3;
        assert_eq!(ToWorker::of(&message, len, 7), Err(STRANGER));
    }
}
