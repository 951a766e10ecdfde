//! All that a session is fits into one segment of shared memory: a header, two slots of cursors, a cell for each worker,
//! and a ring of what was accepted. Here it is byte by byte; what the words mean over time is in [`crate::ledger`].
//!
//! ```text
//! offset  bytes
//!      0      8  magic         "PIPIPLB" and the layout's version; written last, so that it says
//!                              "initialised", "compatible" and "it holds a submission"
//!      8      8  session       its number: no other session has it
//!     16     24  directory     device, inode, birth time of the directory that this belongs to
//!     40     24  log           the same of its sistem.log
//!     64      8  sum           of session, directory and log
//!     72      8  received      messages that the balancer has taken, of all accepted
//!     80      8  doorbell      a bell: the balancer sleeps here
//!     88      8  space         a bell: clients sleep here that submit: while the ring is full, the session is
//!                              closing, or others are before them
//!     96      4  watched       1: ring the doorbell when every accepted message is logged
//!    100      4  wanted        1: somebody waits for the log's lock to accept submissions
//!    104      8  retrying      not 0: a `lbctl dead retry` may have been cut short (crate::dead::settled)
//!    112      8  begun_us      when the session began, or was read back from the log, in µs since 1970: for people
//!    120      8  logged        a bell: who waits for messages to be executed, or for the session's end, sleeps here
//!    128      8  committed     number of the newest transaction that must happen
//!    136      8  finished      number of the newest one that is in the log entirely
//!    144     48  -
//!    192    128  slots[0]      the state after each transaction of an even number: eleven cursors, the
//!                              number, a sum
//!    320    128  slots[1]      … and of an odd number
//!    448     64  path          the end of the directory's path when this was made, for people
//!    512  16384  cells[256]    one cell of 64 bytes for each worker:
//!                   +0   8  executed          messages that worker k has executed; k writes
//!                   +8   8  executed_again    the same, stored after it
//!                  +16   8  wake_at           ring the doorbell when executed reaches this
//!                  +24   4  generation        another one than before: worker k has a new queue (and perhaps no new process)
//!                  +28   4  queue             its message queue's id, or -1 × the key of one that it makes; k writes
//!                  +32   4  done              1: ready for its total
//!                  +36   4  toll              of the message in hand: bits 0-1 left, running or pausing, bits 8-15
//!                                             in how many attempts the worker died, 16-31 how many failed
//!                  +40   8  own               1 + the worker's own number of it; what is said of it holds
//!                                             only while that is `executed` + 1
//!                  +48   8  since_ms          when its last attempt began, in ms since 1970
//!                  +56   4  attempt           the number of that
//!                  +60   4  toll_again        the same as toll, stored after it
//!  16896 2^20  ring           records of accepted submissions that are not logged to their last line yet
//! ```
//!
//! All numbers are in the machine's own order: nobody else reads them. A bell is a word and a flag (4 + 4).

use std::mem::offset_of;

use super::bell::Bell;
use super::cell::Cell;
use super::cursors::NUMBERS;
use super::ring::{RING_LEN, Ring};
use super::steps::Steps;
use super::sync::{AtomicU8, AtomicU32, AtomicU64};

/// "PIPIPLB" and version 7.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PIPIPLB\x07");
/// Cells for workers.
pub const CELLS: usize = 256;

/// See the diagram.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Layout {
    pub(crate) magic: AtomicU64,
    /// Session, directory, log and sum.
    pub(crate) header: [AtomicU64; 8],
    pub(crate) received: AtomicU64,
    pub(crate) doorbell: Bell,
    pub(crate) space: Bell,
    pub(crate) watched: AtomicU32,
    pub(crate) wanted: AtomicU32,
    pub(crate) retrying: AtomicU64,
    pub(crate) begun_us: AtomicU64,
    pub(crate) logged: Bell,
    pub(crate) steps: Steps<NUMBERS>,
    pub(crate) path: [AtomicU8; 64],
    pub(crate) cells: [Cell; CELLS],
    pub(crate) ring: Ring<{ RING_LEN as usize / 8 }>,
}

const _: () = {
    assert!(usize::BITS == 64);
    assert!(offset_of!(Layout, steps) == 128);
    assert!(offset_of!(Layout, path) == 448);
    assert!(offset_of!(Layout, cells) == 512);
    assert!(offset_of!(Layout, ring) == 16_896);
    assert!(size_of::<Layout>() == 16_896 + RING_LEN as usize);
    assert!(size_of::<Cell>() == 64);
    assert!(NUMBERS + 2 <= 16, "a state, its number and its sum fit into a slot");
    assert!(size_of::<Layout>() < 2 << 20, "what error.rs advises to give to kernel.shmmax");
    // Positions are counted on and wrapped by a remainder.
    assert!(RING_LEN.is_power_of_two());
    assert!(CELLS == crate::grammar::rotation::WORKERS_MAX as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_laid_out_as_the_diagram_says() {
        let head = [
            offset_of!(Layout, header),
            offset_of!(Layout, received),
            offset_of!(Layout, doorbell),
            offset_of!(Layout, space),
            offset_of!(Layout, watched),
            offset_of!(Layout, wanted),
            offset_of!(Layout, retrying),
            offset_of!(Layout, begun_us),
        ];
        assert_eq!(head, [8, 72, 80, 88, 96, 100, 104, 112]);
        let steps = [
            offset_of!(Steps<NUMBERS>, committed),
            offset_of!(Steps<NUMBERS>, finished),
            offset_of!(Steps<NUMBERS>, slots),
            size_of::<Steps<NUMBERS>>(),
        ];
        assert_eq!(steps, [0, 8, 64, 64 + 2 * 128]);
        let cell = [
            offset_of!(Cell, executed),
            offset_of!(Cell, executed_again),
            offset_of!(Cell, wake_at),
            offset_of!(Cell, generation),
            offset_of!(Cell, queue),
            offset_of!(Cell, done),
            offset_of!(Cell, toll),
            offset_of!(Cell, own),
            offset_of!(Cell, since_ms),
            offset_of!(Cell, attempt),
            offset_of!(Cell, toll_again),
        ];
        assert_eq!(cell, [0, 8, 16, 24, 28, 32, 36, 40, 48, 56, 60]);
        let bell = [offset_of!(Bell, word), offset_of!(Bell, sleeping), size_of::<Bell>()];
        assert_eq!(bell, [0, 4, 8]);
    }
}
