//! No ready line is left: who finds the log's lock taken leaves his line to its holder, who looks
//! again after letting it go, and rings for the balancer, since a holder may be one who does not.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Mutex;
use loom::thread;

use crate::bell::Bell;
use crate::cell::Cell;
use crate::explore::{LOST, prove, refute};
use crate::product::Steps;

const PREEMPTIONS: usize = 2;

/// `flock(2)`. Each try, also one in vain, is under a lock of the kernel's, and so sees what was done before
/// the try before it.
struct Lock(Mutex<bool>);

impl Lock {
    fn try_take(&self) -> bool {
        !std::mem::replace(&mut *self.0.lock().unwrap(), true)
    }

    fn leave(&self) {
        *self.0.lock().unwrap() = false;
    }
}

#[derive(PartialEq, Eq)]
enum Advance {
    Nothing,
    Wrote,
    Busy,
}

/// Its first cursor is the lines that are logged. Each worker has one message to execute.
struct Ledger {
    lock: Lock,
    steps: Steps,
    cells: Vec<Cell>,
    doorbell: Bell,
}

impl Ledger {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            lock: Lock(Mutex::new(false)),
            steps: Steps::new([0; 2]),
            cells: (0..workers).map(|_| Cell::new()).collect(),
            doorbell: Bell::new(),
        })
    }

    fn logged(&self) -> u64 {
        self.steps.newest().unwrap()[0]
    }

    /// As `Ledger::executed_frontier`.
    fn executed(&self) -> u64 {
        let workers = self.cells.len() as u64;
        let next = (0..).zip(&self.cells).map(|(k, cell)| cell.executed() * workers + k);
        next.min().unwrap().min(workers)
    }

    /// As `Journal::advance`.
    fn advance(&self) -> Advance {
        let before = self.logged();
        if self.executed() <= before {
            return Advance::Nothing;
        }
        if !self.lock.try_take() {
            return Advance::Busy;
        }
        let at = self.logged();
        let after = self.executed();
        if after > at {
            self.steps.commit(&[after; 2]);
            self.steps.finish();
        }
        self.lock.leave();
        if after > at && after == self.cells.len() as u64 {
            self.doorbell.ring(); // the balancer watches
        }
        if after == before { Advance::Nothing } else { Advance::Wrote }
    }

    /// As `Progress::log_ready`.
    fn log_ready(&self, looks_again: bool, rings: bool) {
        loop {
            match self.advance() {
                Advance::Wrote if looks_again => {}
                Advance::Wrote | Advance::Nothing => return,
                Advance::Busy => {
                    if rings {
                        self.doorbell.ring();
                    }
                    return;
                }
            }
        }
    }

    fn work(&self, worker: usize, looks_again: bool, rings: bool) {
        self.cells[worker].set_executed(1);
        self.log_ready(looks_again, rings);
    }

    /// As `Balancer::run`. The sleep while another one has the lock is short, and ends by itself.
    fn balance(&self) {
        loop {
            let seen = self.doorbell.look();
            let advanced = self.advance();
            if self.logged() == self.cells.len() as u64 {
                return;
            }
            match advanced {
                Advance::Wrote => {}
                Advance::Nothing => self.doorbell.sleep(seen, Duration::MAX).unwrap(),
                Advance::Busy => thread::yield_now(),
            }
        }
    }
}

/// Workers alone, the last one of which leaves nothing.
fn two_workers(looks_again: bool) {
    let ledger = Ledger::new(2);
    let other = Arc::clone(&ledger);
    let other = thread::spawn(move || other.work(1, looks_again, true));
    ledger.work(0, looks_again, true);
    other.join().unwrap();
    assert_eq!(ledger.logged(), 2, "a line is left behind");
}

/// A program that holds the lock and never looks: a foreign one, or a client that finds the ring full.
fn a_stranger(rings: bool) {
    let ledger = Ledger::new(1);
    let worker = Arc::clone(&ledger);
    let worker = thread::spawn(move || worker.work(0, true, rings));
    let stranger = Arc::clone(&ledger);
    let stranger = thread::spawn(move || {
        if stranger.lock.try_take() {
            stranger.lock.leave();
        }
    });
    ledger.balance();
    worker.join().unwrap();
    stranger.join().unwrap();
}

#[test]
fn the_holder_looks_again() {
    prove(PREEMPTIONS, || two_workers(true));
}

#[test]
fn the_holder_does_not_look_again() {
    refute("a line is left behind", PREEMPTIONS, || two_workers(false));
}

#[test]
fn the_balancer_is_rung_for() {
    prove(PREEMPTIONS, || a_stranger(true));
}

#[test]
fn the_balancer_is_not_rung_for() {
    refute(LOST, PREEMPTIONS, || a_stranger(false));
}
