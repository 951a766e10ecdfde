//! The memory orderings that the ledger relies on, as models that [loom](https://docs.rs/loom) explores: it
//! runs each again and again, with every order of its threads' steps up to some preemptions, and lets every
//! load return every store that the memory model allows it to.
//!
//! What is explored is the product's source, included as it is (`product.rs`), with loom's atomics in the place
//! of the standard library's (`sync.rs`) and with a futex made of loom's parts (`fence.rs`). What needs files,
//! queues or the whole ledger cannot be included. The few steps of it that matter are written again, and
//! `written_again.rs` checks that the product still does them in that order. Each model has mutants, too
//! (`mutant.rs`): with one ordering weaker, or two steps swapped, loom must find it wrong.
//!
//! | module | what holds |
//! |---|---|
//! | `newest` | who looks at the cursors without the lock sees a whole state, and none older than before, whoever dies |
//! | `record` | who reads a record without the lock, and then finds that it is still needed, has read what was accepted |
//! | `sleepers` | no sleep on a bell needs its time limit, as long as nobody is killed while he rings |
//! | `turns` | clients that wait for room are woken one at a time, and none is forgotten, as long as nobody is killed in his turn |
//! | `wishes` | nor does the balancer's, until all is logged, or until half of a full queue is executed |
//! | `lines` | a line that a worker cannot write, since the lock is taken, is written by others |
//! | `counted` | no message counts before it is executed, or is executed before it is received; no counter goes back |
//!
//! What loom cannot tell:
//!
//! * what a load returns that is done late, after a store that comes later in its thread. x86-64 keeps loads and
//!   stores in this order; for another processor it would be a gap;
//! * what takes more preemptions than a model is given, which is what fits into a minute for all of them. All
//!   mutants are noticed with these. `LOOM_MAX_PREEMPTIONS=3 cargo test -p models` goes further;
//! * the kernel's part. That a futex compares and goes to sleep in one step, and that each try of `flock(2)`
//!   sees what was done before the one before it, is assumed;
//! * who is killed after he took a bell's flag down and before he wakes: the sleeper sleeps to his time limit;
//! * atomics of two sizes in one place, and how the bytes are laid out: `common/src/ledger/layout.rs` asserts that.

// loom is there in tests only.
#[cfg(test)]
mod counted;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod fence;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod mutant;
#[cfg(test)]
mod newest;
#[cfg(test)]
mod product;
#[cfg(test)]
mod record;
#[cfg(test)]
mod sleepers;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod wishes;
#[cfg(test)]
mod written_again;

// Where the product's files look for each other.
#[cfg(test)]
use product::{bell, cell, ring};
