//! How far a session has come: the state before and after each transaction.

use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes, transmute};

use crate::grammar::rotation::{WORKERS_MAX, Workers};

use super::record::RING_FILLED_MAX;
use super::ring::RING_LEN;

/// Numbers that [`Cursors`] are.
pub const NUMBERS: usize = 11;

/// These numbers, in the order of its fields.
pub(super) type State = [u64; NUMBERS];

/// How far a session has come. The log's lines, client lines aside, are a function of the accepted
/// submissions; `head`, `index`, `base` and `line` say how many of them are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Cursors {
    /// Bytes of `sistem.log`.
    pub log_len: u64,
    /// Where the next record of accepted submissions goes in the ring (counted on, not wrapped).
    pub tail: u64,
    /// Submissions accepted.
    pub submissions: u64,
    /// Messages accepted: the sum of their counts.
    pub messages: u64,
    /// Where in the ring the record begins that holds the submission whose lines are being written.
    pub head: u64,
    /// Which one of that record's it is.
    pub index: u64,
    /// Messages of all submissions before that one.
    pub base: u64,
    /// Lines of that submission already written, 0 to 2 × count: first `Received`, then `Executed`.
    pub line: u64,
    /// Totals written.
    pub totals: u64,
    /// N, or 0 while no load balancer has come.
    pub workers: u64,
    /// Not 0: no further submission is accepted in this session, see [`Closing`].
    pub closing: u64,
}

/// What follows once a session is closing and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing.
    Ends = 1,
    /// The log is renamed, by whoever removes the ledger. The next session begins another one.
    Rotates = 2,
}

impl Cursors {
    pub(crate) fn numbers(self) -> State {
        transmute!(self)
    }

    /// The numbers are allegations: what contradicts itself is refused.
    pub(crate) fn from_numbers(numbers: State) -> Result<Self, &'static str> {
        let it: Self = transmute!(numbers);
        let sound = it.head <= it.tail
            && it.tail - it.head <= RING_LEN
            && (it.index == 0 || it.head < it.tail)
            && it.head.is_multiple_of(8)
            && it.tail.is_multiple_of(8)
            && it.base <= it.messages
            && it.submissions <= it.messages
            && it.workers <= u64::from(WORKERS_MAX)
            && (it.totals <= it.workers || it.workers == 0)
            && it.closing <= Closing::Rotates as u64;
        if sound { Ok(it) } else { Err("its cursors contradict each other") }
    }

    /// N, once a load balancer has come.
    #[must_use]
    pub fn workers(&self) -> Option<Workers> {
        Workers::new(self.workers).ok()
    }

    /// Every accepted message is logged to its last line.
    #[must_use]
    pub fn all_logged(&self) -> bool {
        self.head == self.tail
    }

    /// The ring takes another record.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.tail - self.head <= RING_FILLED_MAX
    }

    /// Half of the ring is free.
    #[must_use]
    pub fn has_much_room(&self) -> bool {
        self.tail - self.head <= RING_LEN / 2
    }

    /// No further submission is accepted.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing > 0
    }

    /// The log is to be renamed once the session has ended.
    #[must_use]
    pub fn rotates(&self) -> bool {
        self.closing == Closing::Rotates as u64
    }

    /// The totals are written too: nothing is left but removing the IPC objects.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_closing() && self.workers > 0 && self.totals == self.workers
    }
}
