//! Which bit of the ledger is flipped, and how.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::ledger::cell::Cell;
use common::ledger::layout::{CELLS, Layout};
use common::ledger::ring::RING_LEN;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::random::pick::pick;
use crate::witness;

/// Where the accepted submissions are.
const RING: usize = size_of::<Layout>() - RING_LEN as usize;
/// Where the workers' cells are; before them is what belongs to all.
const HEAD: usize = RING - CELLS * size_of::<Cell>();
/// Everything but the ring, and its beginning.
const FIRST: usize = RING + 512;
/// So long is waited for a ledger to be there.
const LEDGER_WITHIN: Duration = Duration::from_millis(500);

/// A part of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Region {
    /// What belongs to all: who it is of, counters, cursors, bells.
    Head,
    /// Of that and of the cells in use, a word that is not zero.
    Used,
    /// The cell of a worker that there is.
    Cell,
    /// A submission that is not done.
    Record,
    /// Anything, most of which is not in use.
    Anywhere,
}

/// A bit, as it is drawn: which one it is depends on what the ledger then holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) region: Region,
    /// How far into the region, of 2^32.
    fraction: u32,
    bit: u8,
}

/// A bit that was flipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flipped {
    pub(super) region: Region,
    offset: usize,
    bit: u8,
    before: u8,
}

impl Place {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let regions = [
            (3, Region::Head),
            (4, Region::Used),
            (4, Region::Cell),
            (3, Region::Record),
            (1, Region::Anywhere),
        ];
        Self {
            region: pick(rng, &regions),
            fraction: rng.random_range(0..=u32::MAX),
            bit: rng.random_range(0..8),
        }
    }

    /// Flips it, once there is a ledger, while everyone is stopped: so it is one bit, whoever writes
    /// there. Returns nothing where there is no ledger.
    pub(super) fn flip(self, dir: &Path, workers: u32) -> Option<Flipped> {
        let start = Instant::now();
        while witness::ledger(dir).is_none() {
            if start.elapsed() > LEDGER_WITHIN {
                return None;
            }
            thread::sleep(Duration::from_micros(100));
        }
        let _held = Held::all(dir);
        let ledger = witness::ledger(dir)?;
        let bytes = foreign::read_segment(ledger.segment_id()).ok()?;
        let cells = HEAD..HEAD + workers as usize * size_of::<Cell>();
        let records = ledger.cursors().map(|at| at.head..at.tail).unwrap_or_default();
        let of = |candidates: &mut dyn Iterator<Item = usize>| {
            let candidates: Vec<usize> = candidates.collect();
            let which = (candidates.len() as u64 * u64::from(self.fraction)) >> 32;
            candidates.get(which as usize).copied()
        };
        let is_used = |offset: &usize| {
            let word = offset / 8 * 8;
            bytes[word..word + 8].iter().any(|&byte| byte != 0)
        };
        let offset = match self.region {
            Region::Head => of(&mut (0..HEAD)),
            Region::Used => of(&mut (0..cells.end).filter(is_used)),
            Region::Cell => of(&mut cells.clone()),
            Region::Record => of(&mut records.map(|at| RING + (at % RING_LEN) as usize)),
            Region::Anywhere => of(&mut (0..FIRST)),
        };
        // Where no submission waits, there is always a head.
        let (region, offset) = match offset {
            Some(offset) => (self.region, offset),
            None => (Region::Head, of(&mut (0..HEAD))?),
        };
        let before = bytes[offset];
        let after = before ^ 1 << self.bit;
        foreign::write_segment(ledger.segment_id(), offset, &[after]).ok()?;
        Some(Flipped { region, offset, bit: self.bit, before })
    }
}

/// Processes that are stopped; they go on when this is dropped.
struct Held(Vec<i32>);

impl Held {
    /// All of a directory that do not are stopped already.
    fn all(dir: &Path) -> Self {
        let goes = |&pid: &i32| {
            tests::status_field(pid, "State:").is_some_and(|state| !state.starts_with('T'))
        };
        let pids: Vec<i32> = tests::processes(dir).into_iter().filter(goes).collect();
        for &pid in &pids {
            // It may have ended before.
            let _ = tests::stop(pid);
        }
        Self(pids)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for &pid in &self.0 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }
}

impl fmt::Display for Flipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, offset, bit, before } = self;
        write!(f, "bit {bit} of byte {offset} ({region}")?;
        match offset.checked_sub(HEAD) {
            None => {}
            Some(in_cells) if *offset < RING => {
                let (cell, at) = (in_cells / size_of::<Cell>(), in_cells % size_of::<Cell>());
                write!(f, ", worker {} + {at}", cell + 1)?;
            }
            Some(_) => write!(f, ", ring + {}", offset - RING)?,
        }
        write!(f, "), which was {before:#04x}")
    }
}
