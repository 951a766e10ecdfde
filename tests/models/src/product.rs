//! The product's files, and what they need of their crate.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../common/src/ledger/bell.rs"]
pub(crate) mod bell;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../common/src/ledger/cell.rs"]
pub(crate) mod cell;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../common/src/ledger/ring.rs"]
pub(crate) mod ring;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../common/src/ledger/steps.rs"]
pub(crate) mod steps;

use std::array;

use crate::mutant::Source;
use crate::sync::{self, AtomicU32, AtomicU64};

use bell::Bell;
use cell::Cell;
use ring::Ring;

/// Of two numbers instead of eleven: each word that a reader copies doubles what there is to explore.
pub(crate) type Steps = steps::Steps<2>;
pub(crate) type State = [u64; 2];

/// A sum that is always the same: what is accepted must be right by its order alone. As the length of a
/// text it is too long.
pub(crate) mod checksum {
    pub(crate) fn of(_: impl IntoIterator<Item = u64>) -> u64 {
        u64::MAX
    }

    pub(crate) fn of_many(_: &[[u8; 8]]) -> u64 {
        u64::MAX
    }
}

macro_rules! source {
    ($name:literal) => {
        Source { name: $name, text: include_str!(concat!("../../../", $name)) }
    };
}

pub(crate) const BELL: Source = source!("common/src/ledger/bell.rs");
pub(crate) const CELL: Source = source!("common/src/ledger/cell.rs");
pub(crate) const RING: Source = source!("common/src/ledger/ring.rs");
pub(crate) const STEPS: Source = source!("common/src/ledger/steps.rs");

// Shared memory begins as zeros. loom's atomics are made one by one.

fn zeros<const N: usize>() -> [AtomicU64; N] {
    array::from_fn(|_| AtomicU64::new(0))
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(0), sleeping: AtomicU32::new(0) }
    }
}

impl Cell {
    pub(crate) fn new() -> Self {
        Self {
            executed: AtomicU64::new(0),
            executed_again: AtomicU64::new(0),
            wake_at: AtomicU64::new(u64::MAX),
            generation: AtomicU32::new(0),
            queue: AtomicU32::new(0),
            done: AtomicU32::new(0),
            toll: AtomicU32::new(0),
            own: AtomicU64::new(0),
            since_ms: AtomicU64::new(0),
            attempt: AtomicU32::new(0),
            toll_again: AtomicU32::new(0),
        }
    }
}

impl<const WORDS: usize> Ring<WORDS> {
    pub(crate) fn new() -> Self {
        Self(zeros())
    }
}

impl Steps {
    /// After transaction 0, with this state.
    pub(crate) fn new(state: [u64; 2]) -> Self {
        let steps = Self {
            committed: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            reserved: zeros(),
            slots: [zeros(), zeros()],
        };
        steps.begin(&state);
        steps
    }
}
