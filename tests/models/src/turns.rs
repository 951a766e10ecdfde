//! [`crate::bell`]: clients that wait for room are woken one at a time, and each lets the next one know.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Mutex;
use loom::thread;

use crate::bell::Bell;
use crate::explore::{LOST, prove, refute};
use crate::fence::futex;
use crate::sync::Ordering;

/// How many submissions the ring has room for: under the log's lock.
struct Ring {
    room: Mutex<u32>,
    space: Bell,
    /// [`Bell::ring_for_one`], or what is to be refuted.
    wake_one: fn(&Bell),
}

/// What a client does that was accepted.
type Then = fn(&Ring, left: u32);

impl Ring {
    fn new(wake_one: fn(&Bell)) -> Arc<Self> {
        Arc::new(Self { room: Mutex::new(0), space: Bell::new(), wake_one })
    }

    /// As `Feed::submit`, with what `Journal::accept` does after it.
    fn submit(&self, then: Then) {
        loop {
            let seen = self.space.look();
            let mut room = self.room.lock().unwrap();
            if *room > 0 {
                *room -= 1;
                let left = *room;
                drop(room);
                return then(self, left);
            }
            drop(room);
            self.space.sleep(seen, Duration::MAX).unwrap();
        }
    }

    /// As `Journal::advance`.
    fn make_room(&self) {
        *self.room.lock().unwrap() += 2;
        (self.wake_one)(&self.space);
    }
}

fn pass_on(ring: &Ring, left: u32) {
    if left > 0 {
        (ring.wake_one)(&ring.space);
    }
}

fn keep_to_oneself(_: &Ring, _: u32) {}

/// As it was: the flag is down for a moment.
fn ring_with_the_flag_down(bell: &Bell) {
    bell.word.fetch_add(1, Ordering::SeqCst);
    if bell.has_sleeper() && bell.sleeping.swap(0, Ordering::SeqCst) == 1 {
        bell.word.fetch_add(1, Ordering::SeqCst);
        if futex::wake_one(&bell.word) {
            bell.sleeping.store(1, Ordering::SeqCst);
        }
    }
}

fn two_clients_and_a_logger(wake_one: fn(&Bell), then: Then) {
    let ring = Ring::new(wake_one);
    let clients = [0, 1].map(|_| {
        let ring = Arc::clone(&ring);
        thread::spawn(move || ring.submit(then))
    });
    ring.make_room();
    for client in clients {
        client.join().unwrap();
    }
}

/// One of them comes when the other one is being woken.
fn two_clients_and_two_loggers() {
    let ring = Ring::new(Bell::ring_for_one);
    let spawn = |deed: fn(&Ring)| {
        let ring = Arc::clone(&ring);
        thread::spawn(move || deed(&ring))
    };
    let others = [spawn(|ring| ring.submit(pass_on)), spawn(Ring::make_room)];
    ring.make_room();
    ring.submit(pass_on);
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn each_has_its_turn() {
    prove(3, || two_clients_and_a_logger(Bell::ring_for_one, pass_on));
}

#[test]
fn room_is_made_twice() {
    prove(2, two_clients_and_two_loggers);
}

#[test]
fn nobody_passes_it_on() {
    refute(LOST, 3, || two_clients_and_a_logger(Bell::ring_for_one, keep_to_oneself));
}

/// Whoever was woken may be quicker than who has woken him, and finds no flag when he rings for the next one.
#[test]
fn a_flag_that_is_down_for_a_moment() {
    refute(LOST, 3, || two_clients_and_a_logger(ring_with_the_flag_down, pass_on));
}
