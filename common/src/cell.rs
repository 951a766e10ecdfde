//! A worker's cell in the ledger: what it has done, and which queue it has. Its orderings are checked by
//! `tests/models`.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// See the diagram in [`crate::layout`].
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Cell {
    pub(crate) executed: AtomicU64,
    pub(crate) executed_again: AtomicU64,
    pub(crate) wake_at: AtomicU64,
    pub(crate) generation: AtomicU32,
    pub(crate) queue: AtomicU32,
    pub(crate) finished: AtomicU32,
    pub(crate) reserved: [AtomicU32; 7],
}

impl Cell {
    /// Messages that the worker has executed: as many as both its counters say. So a changed bit in one of
    /// them, like a death between the two stores, has messages executed again, never left out.
    #[must_use]
    pub fn executed(&self) -> u64 {
        // SeqCst: after set_wake_at, the worker sees it, or this sees what the worker has done.
        self.executed.load(Ordering::SeqCst).min(self.executed_again.load(Ordering::SeqCst))
    }

    /// Sets it: the worker only.
    pub fn set_executed(&self, messages: u64) {
        // SeqCst: it must be visible before the worker looks at wake_at, or tries the log's lock.
        self.executed.store(messages, Ordering::SeqCst);
        self.executed_again.store(messages, Ordering::SeqCst);
    }

    /// Says that the worker has a new queue, and with it a new generation: the worker only.
    pub fn set_queue(&self, queue: i32) {
        self.queue.store(queue.cast_unsigned(), Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// The worker's generation, and the queue that it says it has.
    #[must_use]
    pub fn queue(&self) -> (u32, i32) {
        let generation = self.generation.load(Ordering::SeqCst);
        (generation, self.queue.load(Ordering::SeqCst).cast_signed())
    }

    /// Whether the worker is ready for its total.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst) == 1
    }

    /// Makes it ready for its total.
    pub fn set_finished(&self) {
        // SeqCst: of two that finish at once, one sees both.
        self.finished.store(1, Ordering::SeqCst);
    }

    /// The balancer wants to be woken when the worker has executed so many.
    pub fn set_wake_at(&self, executed: u64) {
        self.wake_at.store(executed, Ordering::SeqCst);
    }

    /// Whether the balancer wants to be woken, now that the worker has executed so many.
    #[must_use]
    pub fn wants_wake(&self, executed: u64) -> bool {
        executed >= self.wake_at.load(Ordering::SeqCst)
    }
}
