//! The balancer's wishes to be woken: when all is logged (`watched`), and when a worker whose queue was full
//! has executed half of it (`wake_at`). It makes the wish, looks whether that is so already, and sleeps; the
//! others do it, look whether there is a wish, and ring. One of the two sees the other.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Mutex;
use loom::thread;

use crate::bell::Bell;
use crate::cell::Cell;
use crate::explore::{LOST, prove, refute, refute_mutant};
use crate::mutant::{Change, Mutant, Source};
use crate::product::Steps;
use crate::product::{CELL, STEPS};
use crate::sync::{AtomicU32, Ordering};

const PREEMPTIONS: usize = 2;
const HERE: Source = Source { name: "src/wishes.rs", text: include_str!("wishes.rs") };

/// Lines that are to be logged, and messages in a full queue.
const ALL: u64 = 2;

/// Its cursors are the lines that are logged, and all that there are.
struct Ledger {
    lock: Mutex<()>,
    steps: Steps,
    cell: Cell,
    watched: AtomicU32,
    doorbell: Bell,
}

impl Ledger {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lock: Mutex::new(()),
            steps: Steps::new([0, ALL]),
            cell: Cell::new(),
            watched: AtomicU32::new(0),
            doorbell: Bell::new(),
        })
    }

    /// As `Ledger::set_watched`.
    fn set_watched(&self) {
        self.watched.store(1, Ordering::SeqCst);
    }

    /// As `Ledger::is_watched`.
    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst) == 1
    }

    /// As `Journal::advance`: one line.
    fn log(&self) {
        let lock = self.lock.lock().unwrap();
        let logged = self.steps.newest().unwrap()[0] + 1;
        self.steps.commit(&[logged, ALL]);
        self.steps.finish();
        drop(lock);
        if logged == ALL && self.is_watched() {
            self.doorbell.ring();
        }
    }

    /// As `Balancer::run`, which ends when all is logged.
    fn watch(&self) {
        loop {
            let seen = self.doorbell.look();
            self.set_watched();
            if self.is_all_logged() {
                return;
            }
            self.doorbell.sleep(seen, Duration::MAX).unwrap();
        }
    }

    fn watch_after_the_look(&self) {
        loop {
            let seen = self.doorbell.look();
            if self.is_all_logged() {
                return;
            }
            self.set_watched();
            self.doorbell.sleep(seen, Duration::MAX).unwrap();
        }
    }

    fn is_all_logged(&self) -> bool {
        self.steps.newest().unwrap()[0] == ALL
    }

    /// As `Progress::count`, of one message each.
    fn execute(&self) {
        for executed in 1..=ALL {
            self.cell.set_executed(executed);
            if self.cell.wants_wake(executed) {
                self.doorbell.ring();
            }
        }
    }

    fn execute_after_the_look(&self) {
        for executed in 1..=ALL {
            let wants_wake = self.cell.wants_wake(executed);
            self.cell.set_executed(executed);
            if wants_wake {
                self.doorbell.ring();
            }
        }
    }

    /// As `Outlet::may_sleep` and `Outlet::awake`, until all is executed.
    fn wait_for_room(&self) {
        loop {
            let seen = self.doorbell.look();
            let full_at = self.cell.executed();
            if full_at == ALL {
                return;
            }
            let wake_at = full_at + (ALL - full_at).div_ceil(2);
            self.cell.set_wake_at(wake_at);
            if self.cell.executed() < wake_at {
                self.doorbell.sleep(seen, Duration::MAX).unwrap();
            }
            self.cell.set_wake_at(u64::MAX);
        }
    }
}

fn explore<const N: usize>(others: [fn(&Ledger); N], balancer: fn(&Ledger)) {
    let ledger = Ledger::new();
    let others = others.map(|deed| {
        let ledger = Arc::clone(&ledger);
        thread::spawn(move || deed(&ledger))
    });
    balancer(&ledger);
    for other in others {
        other.join().unwrap();
    }
}

fn watched() {
    explore([Ledger::log, Ledger::log], Ledger::watch);
}

fn woken() {
    explore([Ledger::execute], Ledger::wait_for_room);
}

#[test]
fn all_is_logged() {
    prove(PREEMPTIONS, watched);
}

#[test]
fn half_is_executed() {
    prove(PREEMPTIONS + 1, woken);
}

#[test]
fn all_is_logged_with_weaker_orders() {
    for (source, piece) in [
        (&STEPS, "self.finished.store(number, Ordering::SeqCst)"),
        (&STEPS, "self.finished.load(Ordering::SeqCst)"),
        (&HERE, "self.watched.store(1, Ordering::SeqCst)"),
        (&HERE, "self.watched.load(Ordering::SeqCst)"),
    ] {
        let mutant = Mutant::of(source, piece, Change::NotSeqCst);
        refute_mutant(&mutant, LOST, PREEMPTIONS, watched);
    }
}

#[test]
fn all_is_logged_with_the_wish_after_the_look() {
    refute(LOST, PREEMPTIONS, || explore([Ledger::log, Ledger::log], Ledger::watch_after_the_look));
}

#[test]
fn half_is_executed_with_weaker_orders() {
    for piece in [
        "self.executed_again.store(messages, Ordering::SeqCst)",
        "self.wake_at.load(Ordering::SeqCst)",
        "self.wake_at.store(executed, Ordering::SeqCst)",
        "self.executed.load(Ordering::SeqCst).min(self.executed_again.load(Ordering::SeqCst))",
    ] {
        let mutant = Mutant::of(&CELL, piece, Change::NotSeqCst);
        refute_mutant(&mutant, LOST, PREEMPTIONS, woken);
    }
}

#[test]
fn half_is_executed_with_the_deed_after_the_look() {
    refute(LOST, PREEMPTIONS, || explore([Ledger::execute_after_the_look], Ledger::wait_for_room));
}
