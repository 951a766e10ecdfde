//! The ledger's cells: what each worker has done, and which queue is for which life of it.

use std::sync::atomic::Ordering;

use crate::layout::Cell;
use crate::ledger::Ledger;
use crate::rotation::{WorkerId, Workers};

impl Ledger {
    fn cell(&self, worker: WorkerId) -> &Cell {
        &self.layout().cells[worker.index()]
    }

    /// Messages that a worker has executed.
    #[must_use]
    pub fn executed(&self, worker: WorkerId) -> u64 {
        // SeqCst: after set_wake_at, that worker sees it, or this sees what the worker has done.
        self.cell(worker).executed.load(Ordering::SeqCst)
    }

    /// Sets it: that worker only. From here on its lines are ready, whoever writes them.
    pub fn set_executed(&self, worker: WorkerId, messages: u64) {
        // SeqCst: it must be visible before this worker looks at wake_at, or tries the log's lock.
        self.cell(worker).executed.store(messages, Ordering::SeqCst);
    }

    /// The session's first message that is not executed: the rotation is complete up to there.
    #[must_use]
    pub fn executed_frontier(&self, workers: Workers) -> u64 {
        workers.ids().map(|k| workers.message_of(k, self.executed(k))).min().unwrap_or(0)
    }

    /// The life of a worker, and the life that its queue is for.
    #[must_use]
    pub fn generations(&self, worker: WorkerId) -> (u32, u32) {
        let cell = self.cell(worker);
        (cell.generation.load(Ordering::SeqCst), cell.queue_generation.load(Ordering::SeqCst))
    }

    /// Begins a new life of a worker, and returns it: that worker only.
    #[must_use]
    pub fn begin_generation(&self, worker: WorkerId) -> u32 {
        self.cell(worker).generation.fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }

    /// Gives a worker's life a queue: the balancer only.
    pub fn set_queue(&self, worker: WorkerId, generation: u32, queue: i32) {
        let cell = self.cell(worker);
        cell.queue.store(queue.cast_unsigned(), Ordering::SeqCst);
        cell.queue_generation.store(generation, Ordering::SeqCst);
    }

    /// A worker's queue.
    #[must_use]
    pub fn queue(&self, worker: WorkerId) -> i32 {
        self.cell(worker).queue.load(Ordering::SeqCst).cast_signed()
    }

    /// Whether a worker is ready for its total.
    #[must_use]
    pub fn is_finished(&self, worker: WorkerId) -> bool {
        self.cell(worker).finished.load(Ordering::Acquire) == 1
    }

    /// Makes a worker ready for its total: that worker, or the balancer for a dead one.
    pub fn set_finished(&self, worker: WorkerId) {
        self.cell(worker).finished.store(1, Ordering::Release);
    }

    /// The balancer wants to be woken when this worker has executed so many.
    pub fn set_wake_at(&self, worker: WorkerId, executed: u64) {
        self.cell(worker).wake_at.store(executed, Ordering::SeqCst);
    }

    /// Whether the balancer wants to be woken, now that a worker has executed so many.
    #[must_use]
    pub fn wants_wake(&self, worker: WorkerId, executed: u64) -> bool {
        executed >= self.cell(worker).wake_at.load(Ordering::SeqCst)
    }
}
