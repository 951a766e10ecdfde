//! [`crate::bell`]: who has found no work sleeps until there is some, and no sleep needs its time limit.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::bell::Bell;
use crate::explore::{LOST, prove, refute, refute_mutant};
use crate::mutant::{Change, Mutant};
use crate::product::BELL;
use crate::sync::{AtomicU32, Ordering};

struct Office {
    bell: Bell,
    /// Ordered by nothing but the bell.
    work: [AtomicU32; 2],
}

impl Office {
    fn new() -> Arc<Self> {
        let work = [AtomicU32::new(0), AtomicU32::new(0)];
        Arc::new(Self { bell: Bell::new(), work })
    }

    fn is_made(&self, works: &[usize]) -> bool {
        works.iter().all(|&work| self.work[work].load(Ordering::Relaxed) == 1)
    }

    fn wait_for(&self, works: &[usize]) {
        loop {
            let seen = self.bell.look();
            if self.is_made(works) {
                return;
            }
            self.bell.sleep(seen, Duration::MAX).unwrap();
        }
    }

    /// The other way round: work that comes in between is slept over.
    fn wait_without_looking_first(&self) {
        while !self.is_made(&[0]) {
            let seen = self.bell.look();
            self.bell.sleep(seen, Duration::MAX).unwrap();
        }
    }

    fn make(&self, work: usize) {
        self.work[work].store(1, Ordering::Relaxed);
        self.bell.ring();
    }

    /// The other way round: whoever is woken finds nothing.
    fn make_after_ringing(&self) {
        self.bell.ring();
        self.work[0].store(1, Ordering::Relaxed);
    }
}

fn spawn(office: &Arc<Office>, deed: impl FnOnce(&Office) + 'static) -> thread::JoinHandle<()> {
    let office = Arc::clone(office);
    thread::spawn(move || deed(&office))
}

/// The flag is up, of somebody who was killed in his sleep.
fn after_a_death() -> Arc<Office> {
    let office = Office::new();
    office.bell.sleeping.store(1, Ordering::SeqCst);
    office
}

fn a_sleeper_and_a_ringer(office: &Arc<Office>) {
    let ringer = spawn(office, |office| office.make(0));
    office.wait_for(&[0]);
    ringer.join().unwrap();
}

fn one_sleeper_and_two_ringers(office: &Arc<Office>) {
    let ringers = [0, 1].map(|work| spawn(office, move |office| office.make(work)));
    office.wait_for(&[0, 1]);
    for ringer in ringers {
        ringer.join().unwrap();
    }
}

/// Clients, each of which waits for room of its own.
fn two_sleepers_and_two_ringers(office: &Arc<Office>) {
    let ringers = [0, 1].map(|work| spawn(office, move |office| office.make(work)));
    let sleeper = spawn(office, |office| office.wait_for(&[1]));
    office.wait_for(&[0]);
    for ringer in ringers {
        ringer.join().unwrap();
    }
    sleeper.join().unwrap();
}

fn two_sleepers_and_a_ringer(office: &Arc<Office>) {
    let sleeper = spawn(office, |office| office.wait_for(&[0]));
    a_sleeper_and_a_ringer(office);
    sleeper.join().unwrap();
}

#[test]
fn one_of_each() {
    prove(4, || a_sleeper_and_a_ringer(&Office::new()));
}

#[test]
fn two_ringers() {
    prove(3, || one_sleeper_and_two_ringers(&Office::new()));
}

#[test]
fn two_of_each() {
    prove(1, || two_sleepers_and_two_ringers(&Office::new()));
}

#[test]
fn two_sleepers() {
    prove(3, || two_sleepers_and_a_ringer(&Office::new()));
}

#[test]
fn a_death_in_sleep() {
    prove(2, || one_sleeper_and_two_ringers(&after_a_death()));
}

#[test]
fn orders_that_are_weaker() {
    for piece in [
        "self.sleeping.store(1, Ordering::SeqCst)",
        "self.word.fetch_add(1, Ordering::SeqCst)",
        "self.sleeping.load(Ordering::SeqCst)",
    ] {
        let mutant = Mutant::of(&BELL, piece, Change::NotSeqCst);
        refute_mutant(&mutant, LOST, 3, || a_sleeper_and_a_ringer(&Office::new()));
    }
    let mutant = Mutant::of(&BELL, "self.word.load(Ordering::SeqCst)", Change::Unordered);
    refute_mutant(&mutant, LOST, 3, || a_sleeper_and_a_ringer(&Office::new()));
}

/// As it was: a ringer takes the flag down that somebody has put up who looked after its ring, and wakes
/// before he sleeps. The next ringer sees no flag, and he sleeps on.
#[test]
fn a_word_that_does_not_change_with_the_flag() {
    let mutant = Mutant::of(&BELL, "self.word.fetch_add", Change::NotAdded).only(1);
    refute_mutant(&mutant, LOST, 3, || one_sleeper_and_two_ringers(&Office::new()));
}

#[test]
fn looking_for_work_before_the_look_at_the_word() {
    refute(LOST, 3, || {
        let office = Office::new();
        let ringer = spawn(&office, |office| office.make(0));
        office.wait_without_looking_first();
        ringer.join().unwrap();
    });
}

#[test]
fn ringing_before_the_work_is_made() {
    refute(LOST, 3, || {
        let office = Office::new();
        let ringer = spawn(&office, Office::make_after_ringing);
        office.wait_for(&[0]);
        ringer.join().unwrap();
    });
}
