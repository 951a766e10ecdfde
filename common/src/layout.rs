//! The shared memory segment, byte by byte. What the words mean over time is in [`crate::ledger`].
//!
//! ```text
//! offset  bytes
//!      0      8  magic         "PIPIPLB" and the layout's version; written last, so that it says
//!                              both "initialised" and "compatible"
//!      8      8  session       nonce: no other session has it
//!     16     24  directory     device, inode, birth time of the directory that this belongs to
//!     40     16  log           device, inode of its sistem.log
//!     56      8  received      messages that the balancer has taken, of all accepted
//!     64      8  doorbell      word + sleepers: the balancer sleeps here
//!     72      8  space         word + sleepers: clients sleep here while the ring is full or the
//!                              session is closing
//!     80      8  stage         word + sleepers: workers sleep here until they have a queue
//!     88      4  watched       1: ring the doorbell when every accepted message is logged
//!     92      4  wanted        1: somebody waits for the log's lock to accept submissions
//!     96      8  log_born      birth time of the log
//!    104     24  -
//!    128      8  committed     number of the newest transaction that must happen
//!    136      8  finished      number of the newest one that is in the log entirely
//!    144     48  -
//!    192    128  cursors[0]    the state after each transaction of an even number
//!    320    128  cursors[1]    … and of an odd number
//!    448     64  -
//!    512  16384  workers[256]  one cell of 64 bytes each:
//!                   +0   8  executed          messages that worker k has executed; k writes
//!                   +8   4  generation        which life of worker k this is; k writes
//!                  +12   4  queue_generation  the life that the queue is for; the balancer writes
//!                  +16   4  queue             its message queue's id; the balancer writes
//!                  +20   4  finished          1: ready for its total
//!                  +24   8  wake_at           ring the doorbell when executed reaches this
//!                  +32  32  -
//!  16896 2^20  ring           accepted submissions that are not logged to their last line yet,
//!                             each: count (4), text length (2), a sum of it all (2), text, zeros
//!                             up to a multiple of 8
//! ```
//!
//! All numbers are in the machine's own order: nobody else reads them.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// "PIPIPLB" and version 2.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PIPIPLB\x02");
/// Cells for workers.
pub const CELLS: usize = 256;
/// Bytes of accepted submissions that the ledger holds.
pub const RING_LEN: u64 = 1 << 20;

/// A word that processes sleep on, and how many do.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Bell {
    pub(crate) word: AtomicU32,
    pub(crate) sleepers: AtomicU32,
}

/// See the diagram.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Cell {
    pub(crate) executed: AtomicU64,
    pub(crate) generation: AtomicU32,
    pub(crate) queue_generation: AtomicU32,
    pub(crate) queue: AtomicU32,
    pub(crate) finished: AtomicU32,
    pub(crate) wake_at: AtomicU64,
    reserved: [AtomicU64; 4],
}

/// See the diagram. The order of a slot's words is that of [`crate::cursors::Cursors`]; then comes a sum
/// of them.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot(pub(crate) [AtomicU64; 16]);

/// See the diagram.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Layout {
    pub(crate) magic: AtomicU64,
    pub(crate) session: AtomicU64,
    pub(crate) directory: [AtomicU64; 3],
    pub(crate) log: [AtomicU64; 2],
    pub(crate) received: AtomicU64,
    pub(crate) doorbell: Bell,
    pub(crate) space: Bell,
    pub(crate) stage: Bell,
    pub(crate) watched: AtomicU32,
    pub(crate) wanted: AtomicU32,
    pub(crate) log_born: AtomicU64,
    reserved_0: [AtomicU64; 3],
    pub(crate) committed: AtomicU64,
    pub(crate) finished: AtomicU64,
    reserved_1: [AtomicU64; 6],
    pub(crate) cursors: [Slot; 2],
    reserved_2: [AtomicU64; 8],
    pub(crate) cells: [Cell; CELLS],
    pub(crate) ring: [AtomicU64; RING_LEN as usize / 8],
}

const _: () = {
    assert!(usize::BITS == 64);
    assert!(offset_of!(Layout, session) == 8);
    assert!(offset_of!(Layout, directory) == 16);
    assert!(offset_of!(Layout, log) == 40);
    assert!(offset_of!(Layout, received) == 56);
    assert!(offset_of!(Layout, doorbell) == 64);
    assert!(offset_of!(Layout, space) == 72);
    assert!(offset_of!(Layout, stage) == 80);
    assert!(offset_of!(Layout, watched) == 88);
    assert!(offset_of!(Layout, wanted) == 92);
    assert!(offset_of!(Layout, log_born) == 96);
    assert!(offset_of!(Layout, committed) == 128);
    assert!(offset_of!(Layout, finished) == 136);
    assert!(offset_of!(Layout, cursors) == 192);
    assert!(offset_of!(Layout, cells) == 512);
    assert!(offset_of!(Layout, ring) == 16_896);
    assert!(size_of::<Layout>() == 16_896 + RING_LEN as usize);
    assert!(size_of::<Slot>() == 128);
    assert!(size_of::<Cell>() == 64);
    assert!(offset_of!(Cell, generation) == 8);
    assert!(offset_of!(Cell, queue_generation) == 12);
    assert!(offset_of!(Cell, queue) == 16);
    assert!(offset_of!(Cell, finished) == 20);
    assert!(offset_of!(Cell, wake_at) == 24);
    // Positions are counted on and wrapped by a remainder.
    assert!(RING_LEN.is_power_of_two());
    assert!(CELLS == crate::rotation::WORKERS_MAX as usize);
};
