//! The ring, [`crate::ring`], read without the lock: whoever reads a record, and finds after it that the
//! record's place was not free for another one, has read what was accepted.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use crate::cell::Cell;
use crate::explore::{prove, refute_mutant};
use crate::mutant::{Change, Mutant};
use crate::product::RING;
use crate::ring::{Record, Ring, record_len};
use crate::steps::Steps;

const PREEMPTIONS: usize = 2;
const WRONG: &str = "not what was accepted";

const LEN: u64 = record_len(8);
/// Words: room for one record. The second one begins behind the first one, and ends in its place.
const ROOM: usize = 4;

/// Its cursors are the head and the tail.
struct Ledger {
    lock: Mutex<()>,
    steps: Steps,
    ring: Ring<ROOM>,
    cell: Cell,
}

fn record(at: u64) -> Record {
    if at == 0 { (1, b"ALPHABET".to_vec()) } else { (2, b"betabeta".to_vec()) }
}

impl Ledger {
    /// With one record.
    fn new() -> Arc<Self> {
        let lock = Mutex::new(());
        let ledger =
            Self { lock, steps: Steps::new([0, LEN]), ring: Ring::new(), cell: Cell::new() };
        let (count, text) = record(0);
        ledger.ring.write(0, count, &text);
        Arc::new(ledger)
    }

    /// Moves the head over the record, whose last line is logged.
    fn log(&self) {
        let _lock = self.lock.lock().unwrap();
        self.steps.commit(&[LEN, LEN]);
        self.steps.finish();
    }

    /// As a client: if there is room.
    fn accept(&self) {
        let _lock = self.lock.lock().unwrap();
        let [head, tail] = self.steps.newest().unwrap();
        if tail + LEN - head <= 8 * ROOM as u64 {
            let (count, text) = record(tail);
            self.ring.write(tail, count, &text);
            self.steps.commit(&[head, tail + LEN]);
            self.steps.finish();
        }
    }

    /// As the balancer takes submissions, and as a worker looks which lines come next.
    fn take(&self) {
        let [at, tail] = self.steps.newest().unwrap();
        if at < tail {
            let read = self.ring.read(at, 8);
            let [now, _] = self.steps.newest().unwrap();
            if at >= now {
                assert_eq!(read, Some(record(at)), "{WRONG}");
            }
        }
    }

    /// As the balancer fills a frame: what a worker has not executed, is not logged.
    fn fill(&self) {
        let read = self.ring.read(0, 8);
        if self.cell.executed() == 0 {
            assert_eq!(read, Some(record(0)), "{WRONG}");
        }
    }
}

fn explore(reader: impl FnOnce(&Ledger)) {
    let ledger = Ledger::new();
    let worker = Arc::clone(&ledger);
    let worker = thread::spawn(move || {
        worker.cell.set_executed(1);
        worker.log();
    });
    let client = Arc::clone(&ledger);
    let client = thread::spawn(move || client.accept());
    reader(&ledger);
    worker.join().unwrap();
    client.join().unwrap();
}

fn taken() {
    explore(Ledger::take);
}

fn filled() {
    explore(Ledger::fill);
}

#[test]
fn a_record_that_is_taken() {
    prove(PREEMPTIONS, taken);
}

#[test]
fn a_record_that_is_filled_into_a_frame() {
    prove(PREEMPTIONS, filled);
}

#[test]
fn without_the_writers_fence() {
    let mutant = Mutant::of(&RING, "fence(Ordering::Release)", Change::Unordered);
    refute_mutant(&mutant, WRONG, PREEMPTIONS, taken);
    refute_mutant(&mutant, WRONG, PREEMPTIONS, filled);
}

/// Only where it is filled: the fence in the look at the cursors would do for the other one.
#[test]
fn without_the_readers_fence() {
    for place in [0, 1] {
        let mutant = Mutant::of(&RING, "fence(Ordering::Acquire)", Change::Unordered).only(place);
        refute_mutant(&mutant, WRONG, PREEMPTIONS, filled);
    }
}
