//! The atomics that the product's files are included with: loom's, with three things added.
//!
//! **`SeqCst`** of a load or a store is acquire or release for loom, which would find sleepers lost who are not. So
//! there is an order of these operations beside it. A `SeqCst` store *shows* what its thread has done up to
//! and with it; a later `SeqCst` load of a thread that has shown something *sees*, before it loads, what the
//! others have shown. So of two threads that each store one thing and then load the other, one sees the other, as
//! on x86-64 and in C++20, if and only if all four are `SeqCst`.
//!
//! **Turns**: to find the orders that matter, loom (0.7) compares each store with the last load of the same
//! atomic only, so a thread's own load hides those of others, and orders are left out. With turns taken by loads, none is.
//!
//! **Mutants**: the place from which an operation is called may be one ([`crate::mutant`]).

use std::array;
use std::cell::Cell;
pub(crate) use std::sync::atomic::Ordering;

use loom::MAX_THREADS;
use loom::sync::atomic::AtomicUsize;

use crate::mutant::{self, Change};

loom::lazy_static! {
    /// Where each thread shows. (One for all would have to be read to be written, and a fence after it saw.)
    static ref SHOWN: [AtomicUsize; MAX_THREADS] = array::from_fn(|_| AtomicUsize::new(0));
}

loom::thread_local! {
    static PLACE: usize = PLACES.replace(PLACES.get() + 1);
    /// Whether the thread has shown something since it saw.
    static HAS_SHOWN: Cell<bool> = Cell::new(false);
}

std::thread_local! {
    /// How many places are taken in [`SHOWN`].
    static PLACES: Cell<usize> = const { Cell::new(0) };
}

/// Before threads are spawned: whoever uses a lazy static first shows all who use it what he has done.
pub(crate) fn begin() {
    PLACES.set(0);
    SHOWN[0].load(Ordering::Relaxed);
}

/// After a `SeqCst` store.
fn show() {
    PLACE.with(|&place| SHOWN[place].store(0, Ordering::Release));
    HAS_SHOWN.with(|it| it.set(true));
}

/// Before a `SeqCst` load.
fn see() {
    if HAS_SHOWN.with(|it| it.replace(false)) {
        let own = PLACE.with(|&place| place);
        for place in (0..PLACES.get()).filter(|&place| place != own) {
            exchange_in_vain(&SHOWN[place], Ordering::Acquire);
        }
    }
}

/// A load of the newest value, where a plain load may return an older one.
fn exchange_in_vain(atomic: &AtomicUsize, order: Ordering) {
    let _ = atomic.compare_exchange(1, 1, Ordering::Relaxed, order);
}

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name {
            value: loom::sync::atomic::$name,
            turn: AtomicUsize,
        }

        #[allow(dead_code)] // not each of them has each operation used
        impl $name {
            pub(crate) fn new(value: $int) -> Self {
                let value = loom::sync::atomic::$name::new(value);
                Self { value, turn: AtomicUsize::new(0) }
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $int {
                exchange_in_vain(&self.turn, Ordering::Relaxed);
                match mutant::order(order, Ordering::Acquire) {
                    Ordering::SeqCst => {
                        see();
                        self.value.load(Ordering::Acquire)
                    }
                    order => self.value.load(order),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $int, order: Ordering) {
                match mutant::order(order, Ordering::Release) {
                    Ordering::SeqCst => {
                        self.value.store(value, Ordering::Release);
                        show();
                    }
                    order => self.value.store(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                let value = if mutant::here() == Some(Change::NotAdded) { 0 } else { value };
                let order = mutant::order(order, Ordering::AcqRel);
                modify(order, |order| self.value.fetch_add(value, order))
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                let order = mutant::order(order, Ordering::AcqRel);
                modify(order, |order| self.value.swap(value, order))
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

fn modify<T>(order: Ordering, change: impl FnOnce(Ordering) -> T) -> T {
    if order != Ordering::SeqCst {
        return change(order);
    }
    see();
    let before = change(Ordering::AcqRel);
    show();
    before
}

#[track_caller]
pub(crate) fn fence(order: Ordering) {
    if mutant::here() != Some(Change::Unordered) {
        loom::sync::atomic::fence(order);
    }
}
