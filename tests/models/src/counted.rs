//! [`crate::cell`]: what a worker has executed is shown by the smaller one of two counters.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use crate::cell::Cell;
use crate::explore::{prove, refute, refute_mutant};
use crate::mutant::{Change, Mutant};
use crate::product::CELL;
use crate::sync::{AtomicU64, Ordering};

const PREEMPTIONS: usize = 3;

struct Ledger {
    cell: Cell,
    /// How often each message was executed.
    truth: AtomicU64,
    received: AtomicU64,
    queue: Mutex<bool>,
}

impl Ledger {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            cell: Cell::new(),
            truth: AtomicU64::new(0),
            received: AtomicU64::new(0),
            queue: Mutex::new(false),
        })
    }

    /// Executes messages up to this one, and counts it.
    fn execute(&self, messages: u64) {
        self.truth.store(messages, Ordering::Relaxed);
        self.cell.set_executed(messages);
    }

    /// Killed between the two stores; and its next life.
    fn die_and_live_again(&self) {
        self.truth.store(1, Ordering::Relaxed);
        self.cell.executed.store(1, Ordering::SeqCst);
        // `Server::run`
        let executed = self.cell.executed();
        assert_eq!(executed, 0, "what was not counted twice counts");
        self.cell.set_executed(executed);
        self.execute(executed + 1);
    }

    fn look(&self, counter: fn(&Cell) -> u64) {
        let before = counter(&self.cell);
        assert!(before <= self.truth.load(Ordering::Relaxed), "more than was executed");
        assert!(before <= counter(&self.cell), "less than before");
    }
}

fn explore(worker: fn(&Ledger), counter: fn(&Cell) -> u64) {
    let ledger = Ledger::new();
    let other = Arc::clone(&ledger);
    let other = thread::spawn(move || worker(&other));
    ledger.look(counter);
    other.join().unwrap();
}

fn two_messages() {
    explore(|ledger| [1, 2].into_iter().for_each(|n| ledger.execute(n)), Cell::executed);
}

fn a_death() {
    explore(Ledger::die_and_live_again, Cell::executed);
}

#[test]
fn never_more_than_was_executed() {
    prove(PREEMPTIONS, two_messages);
}

#[test]
fn a_death_between_the_two_stores() {
    prove(PREEMPTIONS, a_death);
}

#[test]
fn counted_without_order() {
    let piece = "self.executed.load(Ordering::SeqCst).min(self.executed_again.load(";
    let mutant = Mutant::of(&CELL, piece, Change::Unordered);
    refute_mutant(&mutant, "more than was executed", PREEMPTIONS, two_messages);
}

#[test]
fn one_counter_alone() {
    let first = |cell: &Cell| cell.executed.load(Ordering::SeqCst);
    refute("less than before", PREEMPTIONS, move || explore(Ledger::die_and_live_again, first));
}

/// A worker's new generation is never shown with its old queue.
fn generations() {
    let ledger = Ledger::new();
    let worker = Arc::clone(&ledger);
    let worker = thread::spawn(move || {
        worker.cell.set_queue(10);
        worker.cell.set_queue(20);
    });
    let (generation, queue) = ledger.cell.queue();
    assert!(queue >= 10 * generation.cast_signed(), "an old queue");
    worker.join().unwrap();
}

#[test]
fn a_new_queue() {
    prove(PREEMPTIONS, generations);
}

#[test]
fn a_new_queue_without_order() {
    for piece in ["self.generation.fetch_add(1, ", "self.generation.load("] {
        let mutant = Mutant::of(&CELL, piece, Change::Unordered);
        refute_mutant(&mutant, "an old queue", PREEMPTIONS, generations);
    }
}

/// What is executed was received, for whoever looks at it in this order, as `Transaction::append_ready`.
fn received(looks_at_executed_first: bool) {
    let ledger = Ledger::new();
    let balancer = Arc::clone(&ledger);
    let balancer = thread::spawn(move || {
        balancer.received.store(1, Ordering::Release); // `Ledger::set_received`
        *balancer.queue.lock().unwrap() = true;
    });
    let worker = Arc::clone(&ledger);
    let worker = thread::spawn(move || {
        if *worker.queue.lock().unwrap() {
            worker.cell.set_executed(1);
        }
    });
    let executed = || ledger.cell.executed();
    let received = || ledger.received.load(Ordering::Acquire);
    let (executed, received) = if looks_at_executed_first {
        let executed = executed();
        (executed, received())
    } else {
        let received = received();
        (executed(), received)
    };
    assert!(executed <= received, "its counters say more than was accepted");
    balancer.join().unwrap();
    worker.join().unwrap();
}

#[test]
fn what_is_executed_was_received() {
    prove(PREEMPTIONS, || received(true));
}

#[test]
fn what_is_received_is_looked_at_first() {
    refute("more than was accepted", PREEMPTIONS, || received(false));
}
