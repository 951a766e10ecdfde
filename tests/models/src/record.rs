//! The ring, [`crate::ring`], read without the lock: whoever reads a record, and finds after it that the
//! record's place was not free for another one, has read what was accepted.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use crate::explore::{prove, refute_mutant};
use crate::mutant::{Change, Mutant};
use crate::product::RING;
use crate::product::Steps;
use crate::ring::{Ring, record_len};

const PREEMPTIONS: usize = 2;
const WRONG: &str = "not what was accepted";

/// One submission with no text.
const LEN: u64 = record_len(1, 0);
/// Words: room for one record. The second one begins after the first one, and ends in its place.
const ROOM: usize = 4;

/// Its cursors are the head and the tail.
struct Ledger {
    lock: Mutex<()>,
    steps: Steps,
    ring: Ring<ROOM>,
}

fn body(at: u64) -> [[u8; 8]; 1] {
    [if at == 0 { *b"ALPHABET" } else { *b"betabeta" }]
}

impl Ledger {
    /// With one record.
    fn new() -> Arc<Self> {
        let lock = Mutex::new(());
        let ledger = Self { lock, steps: Steps::new([0, LEN]), ring: Ring::new() };
        ledger.ring.write(0, 1, 0, &body(0));
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
            self.ring.write(tail, 1, 0, &body(tail));
            self.steps.commit(&[head, tail + LEN]);
            self.steps.finish();
        }
    }

    /// As the balancer takes submissions, and as a worker looks which lines come next.
    fn take(&self) {
        let [at, tail] = self.steps.newest().unwrap();
        if at < tail {
            let mut found = Vec::new();
            let read = self.ring.read(at, LEN, &mut found);
            let [now, _] = self.steps.newest().unwrap();
            if at >= now {
                assert_eq!((read, found), (Some((1, 0)), body(at).to_vec()), "{WRONG}");
            }
        }
    }
}

fn explore(reader: impl FnOnce(&Ledger)) {
    let ledger = Ledger::new();
    let worker = Arc::clone(&ledger);
    let worker = thread::spawn(move || worker.log());
    let client = Arc::clone(&ledger);
    let client = thread::spawn(move || client.accept());
    reader(&ledger);
    worker.join().unwrap();
    client.join().unwrap();
}

fn taken() {
    explore(Ledger::take);
}

#[test]
fn a_record_that_is_taken() {
    prove(PREEMPTIONS, taken);
}

#[test]
fn without_the_writers_fence() {
    let mutant = Mutant::of(&RING, "fence(Ordering::Release)", Change::Unordered);
    refute_mutant(&mutant, WRONG, PREEMPTIONS, taken);
}
