//! What travels through a message queue: a batch of messages for one worker.
//!
//! ```text
//! offset  bytes  a frame
//!      0      8  session     nonce of the session that it belongs to
//!      8      8  first       the worker's own number of the first message in it
//!     16         batches, one after the other to the frame's end, each:
//!      +0      2  text_len    bytes of the whole text
//!      +2      2  piece_at    where in the text this piece begins
//!      +4      2  piece_len   bytes of this piece
//!      +6      2  count       messages that carry this text; 0 unless the piece ends the text
//!      +8         the piece, then the index of each message (4)
//!
//!                 or, for one message of index 1:
//!      +0      2  text_len    and the highest bit
//!      +2         the text
//! ```
//!
//! Numbers are little-endian. A batch holds messages of one submission, which share their text: so it
//! is there once, followed by the index of every message that carries it. A text that does not fit
//! into a frame (a queue may be as small as one small frame) comes in pieces. Of a submission of one message nothing
//! but the text is sent: so a frame holds twice as many of them.

use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::grammar::submission::TEXT_LEN_MAX;

/// What a frame begins with.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    session: U64,
    first: U64,
}

/// What a batch begins with.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BatchHead {
    text_len: U16,
    piece_at: U16,
    piece_len: U16,
    count: U16,
}

const HEAD_LEN: usize = size_of::<Head>();
const BATCH_HEAD_LEN: usize = size_of::<BatchHead>();
const INDEX_LEN: usize = 4;
/// Of a batch that is one message of index 1.
const LONE_HEAD_LEN: usize = size_of::<U16>();
const LONE: u16 = 1 << 15;
/// The smallest frame that makes progress: one byte of a text, one index.
pub const FRAME_LEN_MIN: usize = HEAD_LEN + BATCH_HEAD_LEN + 1 + INDEX_LEN;

/// Why bytes from a queue are refused that belong to another session, or to nobody.
pub(super) const STRANGER: &str = "it does not belong to this session";
const SHORT: &str = "it is cut short";
const CONTRADICTION: &str = "its lengths contradict each other";

/// Writes one frame.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

/// What [`FrameWriter::push`] fitted into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The text is in frames up to here; its whole length once it is complete.
    pub text_at: usize,
    /// So many of the messages.
    pub messages: usize,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame in `bytes`, all of which it may fill.
    pub fn new(bytes: &'a mut [u8], session: u64, first: u64) -> Self {
        let mut writer = Self { bytes, len: 0 };
        writer.put(Head { session: session.into(), first: first.into() }.as_bytes());
        writer
    }

    /// Adds messages that carry `text`: those of index `first`, `first + step`, …, up to `count` of
    /// them. `text_at` bytes of the text are in earlier frames. Returns nothing if not even a piece
    /// fits.
    pub fn push(
        &mut self,
        text: &[u8],
        text_at: usize,
        first: u32,
        step: u32,
        count: u64,
    ) -> Option<Pushed> {
        if (text_at, first, count) == (0, 1, 1) && self.push_lone(text) {
            return Some(Pushed { text_at: text.len(), messages: 1 });
        }
        let room = self.room().checked_sub(BATCH_HEAD_LEN)?;
        let left = &text[text_at..];
        let (piece, messages) = if left.len() + INDEX_LEN <= room {
            let fitting = ((room - left.len()) / INDEX_LEN).min(u16::MAX.into());
            (left, usize::try_from(count).map_or(fitting, |count| count.min(fitting)))
        } else if self.len == HEAD_LEN {
            // Not even alone: send a piece. The last byte is kept, so that the batch which ends the
            // text has a message.
            (&left[..room.min(left.len() - 1)], 0)
        } else {
            return None;
        };
        if piece.is_empty() {
            return None;
        }
        // All are at most TEXT_LEN_MAX or u16::MAX.
        let [text_len, piece_at, piece_len, count] =
            [text.len(), text_at, piece.len(), messages].map(|n| U16::new(n as u16));
        self.put(BatchHead { text_len, piece_at, piece_len, count }.as_bytes());
        self.put(piece);
        let (places, _) = self.bytes[self.len..][..messages * INDEX_LEN].as_chunks_mut();
        for (i, place) in (0..).zip(places) {
            *place = first.wrapping_add(step.wrapping_mul(i)).to_le_bytes();
        }
        self.len += messages * INDEX_LEN;
        Some(Pushed { text_at: text_at + piece.len(), messages })
    }

    /// Adds one message of index 1, all of it. Returns false if it does not fit.
    pub fn push_lone(&mut self, text: &[u8]) -> bool {
        let fits = LONE_HEAD_LEN + text.len() <= self.room();
        if fits {
            // At most TEXT_LEN_MAX.
            self.put(U16::new(text.len() as u16 | LONE).as_bytes());
            self.put(text);
        }
        fits
    }

    fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    fn put(&mut self, part: &[u8]) {
        self.bytes[self.len..][..part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    /// Ends the frame. Returns how many bytes it has.
    #[must_use]
    pub fn finish(self) -> usize {
        self.len
    }
}

/// Reads frames, and puts a text that comes in pieces together.
#[derive(Debug, Default)]
pub struct FrameReader {
    text: Vec<u8>,
}

impl FrameReader {
    /// Checks a frame and hands out its messages: the worker's own number of each, its text, and its
    /// index. Returns why it is not a frame of this session.
    pub fn read(
        &mut self,
        bytes: &[u8],
        session: u64,
        mut message: impl FnMut(u64, &[u8], u32),
    ) -> Result<(), &'static str> {
        let (head, mut rest) = Head::ref_from_prefix(bytes).map_err(|_| SHORT)?;
        if head.session != session {
            return Err(STRANGER);
        }
        let mut own = head.first.get();
        while !rest.is_empty() {
            if let Ok((lone, tail)) = U16::ref_from_prefix(rest)
                && lone.get() & LONE != 0
            {
                let len = usize::from(lone.get() & !LONE);
                let (text, tail) = tail.split_at_checked(len).ok_or(SHORT)?;
                if text.is_empty() || len > TEXT_LEN_MAX || !self.text.is_empty() {
                    return Err(CONTRADICTION);
                }
                message(own, text, 1);
                own = own.wrapping_add(1);
                rest = tail;
                continue;
            }
            let (head, tail) = BatchHead::ref_from_prefix(rest).map_err(|_| SHORT)?;
            let BatchHead { text_len, piece_at, piece_len, count } = head;
            let [text_len, piece_at, piece_len, count] =
                [text_len, piece_at, piece_len, count].map(|n| usize::from(n.get()));
            let (piece, tail) = tail.split_at_checked(piece_len).ok_or(SHORT)?;
            let (indices, tail) = tail.split_at_checked(count * INDEX_LEN).ok_or(SHORT)?;
            let piece_end = piece_at + piece_len;
            let ends_text = piece_end == text_len;
            if piece_len == 0
                || text_len > TEXT_LEN_MAX
                || piece_end > text_len
                || ends_text != (count > 0)
            {
                return Err(CONTRADICTION);
            }
            if piece_at == 0 {
                self.text.clear();
            }
            if self.text.len() != piece_at {
                return Err("the pieces of its text do not fit together");
            }
            self.text.extend_from_slice(piece);
            for index in indices.as_chunks().0 {
                message(own, &self.text, u32::from_le_bytes(*index));
                own = own.wrapping_add(1);
            }
            if ends_text {
                self.text.clear();
            }
            rest = tail;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the frame's size, a reader gets every message back, in order, with its text.
        #[test]
        fn messages_survive_the_queue(
            submissions in proptest::collection::vec(("[a-z]{1,120}", 1..200u32), 1..8),
            frame_len in FRAME_LEN_MIN..400,
            step in 1..5u32,
        ) {
            let mut reader = FrameReader::default();
            let mut received = Vec::new();
            let mut sent = Vec::new();
            let mut own = 0u64;
            let mut frame = vec![0; frame_len];
            let mut todo: Vec<(&[u8], usize, u32, u64)> = submissions
                .iter().map(|(text, count)| (text.as_bytes(), 0, 1, u64::from(*count))).collect();
            todo.reverse();
            while !todo.is_empty() {
                let mut writer = FrameWriter::new(&mut frame, 7, own);
                while let Some((text, text_at, first, count)) = todo.pop() {
                    let Some(pushed) = writer.push(text, text_at, first, step, count) else {
                        todo.push((text, text_at, first, count));
                        break;
                    };
                    for i in 0..pushed.messages as u32 {
                        sent.push((own, text.to_vec(), first + i * step));
                        own += 1;
                    }
                    let left = count - pushed.messages as u64;
                    let first = first + pushed.messages as u32 * step;
                    let text_at = if pushed.text_at == text.len() { 0 } else { pushed.text_at };
                    if left > 0 {
                        todo.push((text, text_at, first, left));
                    }
                }
                let len = writer.finish();
                prop_assert!(len > HEAD_LEN, "no progress");
                reader.read(&frame[..len], 7, |own, text, index| {
                    received.push((own, text.to_vec(), index));
                }).unwrap();
            }
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300),
                                                session in 0..2u64) {
            let mut frame = session.to_le_bytes().to_vec();
            frame.extend(bytes);
            let mut reader = FrameReader::default();
            let _ = reader.read(&frame, 1, |_, text, _| assert!(text.len() <= TEXT_LEN_MAX));
        }
    }

    #[test]
    fn a_stranger_is_told_apart() {
        let mut bytes = [0; 64];
        let mut writer = FrameWriter::new(&mut bytes, 1, 0);
        writer.push(b"x", 0, 1, 1, 1).unwrap();
        let len = writer.finish();
        let read =
            |bytes: &[u8], session| FrameReader::default().read(bytes, session, |_, _, _| ());
        assert_eq!(read(&bytes[..len], 1), Ok(()));
        assert_eq!(read(&bytes[..len], 2), Err(STRANGER));
        assert_eq!(read(&bytes[..len - 1], 1), Err(SHORT));
        assert_eq!(read(&bytes[..7], 1), Err(SHORT));
    }
}
