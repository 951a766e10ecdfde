//! The seqlock of the cursors, [`crate::steps`]: whoever looks without the lock sees the state after some
//! finished transaction, whole, and never an older one than before.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use crate::explore::{prove, refute_mutant};
use crate::mutant::{Change, Mutant};
use crate::product::STEPS;
use crate::product::{State, Steps};
use crate::sync::{Ordering, fence};

const PREEMPTIONS: usize = 3;

struct Log {
    lock: Mutex<()>,
    steps: Steps,
}

/// What a holder of the lock does.
#[derive(Clone, Copy)]
enum Deed {
    Transaction,
    /// Killed inside its commit.
    HalfCommit,
    /// Killed between commit and finish.
    Commit,
    /// There was no room for its bytes.
    Withdraw,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: Mutex::new(()), steps: Steps::new([0; 2]) })
    }

    /// State number n is n, n. A holder first redoes what is pending.
    fn hold(&self, deed: Deed) {
        let _lock = self.lock.lock().unwrap();
        if let Some((from, to)) = self.steps.pending().unwrap() {
            assert_eq!(number(from) + 1, number(to), "a pending transaction is another one");
            self.steps.finish();
        }
        let next = [number(self.steps.newest().unwrap()) + 1; 2];
        match deed {
            Deed::Transaction => {
                self.steps.commit(&next);
                self.steps.finish();
            }
            Deed::HalfCommit => {
                fence(Ordering::Release);
                let slot = &self.steps.slots[next[0] as usize % 2];
                slot[0].store(next[0], Ordering::Relaxed);
            }
            Deed::Commit => self.steps.commit(&next),
            Deed::Withdraw => {
                self.steps.commit(&[100; 2]);
                self.steps.withdraw();
            }
        }
    }

    fn look(&self) -> u64 {
        number(self.steps.newest().unwrap())
    }
}

fn number(state: State) -> u64 {
    assert_eq!(state[0], state[1], "a torn state");
    state[0]
}

/// Two holders of the lock, one after the other, and one who looks without it.
fn two_writers(first: Deed, second: Deed, last: u64, looks: u32) {
    let log = Log::new();
    let holders = [first, second].map(|deed| {
        let log = Arc::clone(&log);
        thread::spawn(move || log.hold(deed))
    });
    let mut before = 0;
    for _ in 0..looks {
        let now = log.look();
        assert!(before <= now, "the state went back");
        assert!(now <= last, "a state that was taken back");
        before = now;
    }
    for holder in holders {
        holder.join().unwrap();
    }
    // All that was committed happened.
    log.hold(Deed::Transaction);
    assert_eq!(log.look(), last + 1, "a transaction is missing");
}

fn transactions() {
    two_writers(Deed::Transaction, Deed::Transaction, 2, 1);
}

#[test]
fn a_look_at_two_transactions() {
    prove(PREEMPTIONS, transactions);
}

#[test]
fn two_looks_at_two_transactions() {
    prove(2, || two_writers(Deed::Transaction, Deed::Transaction, 2, 2));
}

#[test]
fn a_death_before_the_commit_point() {
    prove(PREEMPTIONS, || two_writers(Deed::HalfCommit, Deed::Transaction, 1, 1));
}

#[test]
fn a_death_after_the_commit_point() {
    prove(PREEMPTIONS, || two_writers(Deed::Commit, Deed::Transaction, 2, 1));
}

#[test]
fn a_transaction_that_is_taken_back() {
    prove(PREEMPTIONS, || two_writers(Deed::Withdraw, Deed::Transaction, 1, 1));
}

fn refute_transactions(piece: &str, because: &str) {
    let mutant = Mutant::of(&STEPS, piece, Change::Unordered);
    refute_mutant(&mutant, because, PREEMPTIONS, transactions);
}

#[test]
fn without_the_writers_fence() {
    refute_transactions("fence(Ordering::Release)", "contradict");
}

#[test]
fn without_the_readers_fence() {
    refute_transactions("fence(Ordering::Acquire)", "contradict");
}

#[test]
fn finished_without_order() {
    refute_transactions("self.finished.store(number, Ordering::SeqCst)", "contradict");
}

#[test]
fn looked_at_without_order() {
    refute_transactions("self.finished.load(Ordering::SeqCst)", "contradict");
}
