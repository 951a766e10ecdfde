//! The shared memory segment, byte by byte. What the words mean over time is in [`crate::ledger`].
//!
//! ```text
//! offset  bytes
//!      0      8  magic         "PIPIPLB" and the layout's version; written last, so that it says
//!                              "initialised", "compatible" and "it holds a submission"
//!      8      8  session       nonce: no other session has it
//!     16     24  directory     device, inode, birth time of the directory that this belongs to
//!     40     24  log           the same of its sistem.log
//!     64      8  sum           of session, directory and log
//!     72      8  received      messages that the balancer has taken, of all accepted
//!     80      8  doorbell      a bell: the balancer sleeps here
//!     88      8  space         a bell: clients sleep here while the ring is full or the session is
//!                              closing
//!     96      4  watched       1: ring the doorbell when every accepted message is logged
//!    100      4  wanted        1: somebody waits for the log's lock to accept submissions
//!    104     24  -
//!    128      8  committed     number of the newest transaction that must happen
//!    136      8  finished      number of the newest one that is in the log entirely
//!    144     48  -
//!    192    128  slots[0]      the state after each transaction of an even number: ten cursors, the
//!                              number, a sum
//!    320    128  slots[1]      … and of an odd number
//!    448     64  path          the end of the directory's path when this was made, for people
//!    512  16384  cells[256]    one cell of 64 bytes for each worker:
//!                   +0   8  executed          messages that worker k has executed; k writes
//!                   +8   8  executed_again    the same, stored after it
//!                  +16   8  wake_at           ring the doorbell when executed reaches this
//!                  +24   4  generation        another one than before: worker k has a new queue
//!                  +28   4  queue             its message queue's id; k writes
//!                  +32   4  finished          1: ready for its total
//!                  +36  28  -
//!  16896 2^20  ring           accepted submissions that are not logged to their last line yet
//! ```
//!
//! All numbers are in the machine's own order: nobody else reads them. A bell is a word and a flag (4 + 4).

use std::mem::offset_of;

use crate::bell::Bell;
use crate::cell::Cell;
use crate::ring::Ring;
use crate::steps::{Slot, Steps};
use crate::sync::{AtomicU32, AtomicU64};

/// "PIPIPLB" and version 3.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PIPIPLB\x03");
/// Cells for workers.
pub const CELLS: usize = 256;
/// Bytes of accepted submissions that the ledger holds.
pub const RING_LEN: u64 = 1 << 20;
/// Bytes of the directory's path that it remembers.
pub const PATH_LEN: usize = 64;

/// See the diagram.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Layout {
    pub(crate) magic: AtomicU64,
    pub(crate) session: AtomicU64,
    pub(crate) directory: [AtomicU64; 3],
    pub(crate) log: [AtomicU64; 3],
    pub(crate) sum: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) doorbell: Bell,
    pub(crate) space: Bell,
    pub(crate) watched: AtomicU32,
    pub(crate) wanted: AtomicU32,
    reserved: [AtomicU64; 3],
    pub(crate) steps: Steps,
    pub(crate) path: [AtomicU64; PATH_LEN / 8],
    pub(crate) cells: [Cell; CELLS],
    pub(crate) ring: Ring<{ RING_LEN as usize / 8 }>,
}

const _: () = {
    assert!(usize::BITS == 64);
    assert!(offset_of!(Layout, session) == 8);
    assert!(offset_of!(Layout, directory) == 16);
    assert!(offset_of!(Layout, log) == 40);
    assert!(offset_of!(Layout, sum) == 64);
    assert!(offset_of!(Layout, received) == 72);
    assert!(offset_of!(Layout, doorbell) == 80);
    assert!(offset_of!(Layout, space) == 88);
    assert!(offset_of!(Layout, watched) == 96);
    assert!(offset_of!(Layout, wanted) == 100);
    assert!(offset_of!(Layout, steps) + offset_of!(Steps, committed) == 128);
    assert!(offset_of!(Layout, steps) + offset_of!(Steps, finished) == 136);
    assert!(offset_of!(Layout, steps) + offset_of!(Steps, slots) == 192);
    assert!(offset_of!(Layout, path) == 448);
    assert!(offset_of!(Layout, cells) == 512);
    assert!(offset_of!(Layout, ring) == 16_896);
    assert!(size_of::<Layout>() == 16_896 + RING_LEN as usize);
    assert!(size_of::<Slot>() == 128);
    assert!(size_of::<Cell>() == 64);
    assert!(offset_of!(Cell, executed_again) == 8);
    assert!(offset_of!(Cell, wake_at) == 16);
    assert!(offset_of!(Cell, generation) == 24);
    assert!(offset_of!(Cell, queue) == 28);
    assert!(offset_of!(Cell, finished) == 32);
    assert!(size_of::<Bell>() == 8);
    // Positions are counted on and wrapped by a remainder.
    assert!(RING_LEN.is_power_of_two());
    assert!(CELLS == crate::rotation::WORKERS_MAX as usize);
};
