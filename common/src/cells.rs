//! The ledger's cells: what each worker has done, and which queue it has. How a cell keeps that, is in
//! [`crate::cell`].

use crate::cell::Cell;
use crate::cursors::Cursors;
use crate::ledger::Ledger;
use crate::rotation::{WorkerId, Workers};

impl Ledger {
    fn cell(&self, worker: WorkerId) -> &Cell {
        &self.layout().cells[worker.index()]
    }

    /// Messages that a worker has executed; see [`Cell::executed`].
    #[must_use]
    pub fn executed(&self, worker: WorkerId) -> u64 {
        self.cell(worker).executed()
    }

    /// Sets it: that worker only. From here on its lines are ready, whoever writes them.
    pub fn set_executed(&self, worker: WorkerId, messages: u64) {
        self.cell(worker).set_executed(messages);
    }

    /// The session's first message that is not executed: the rotation is complete up to there.
    #[must_use]
    pub fn executed_frontier(&self, workers: Workers) -> u64 {
        workers.ids().map(|k| workers.message_of(k, self.executed(k))).min().unwrap_or(0)
    }

    /// Says that a worker has a new queue, and with it a new generation: that worker only.
    pub fn set_queue(&self, worker: WorkerId, queue: i32) {
        self.cell(worker).set_queue(queue);
    }

    /// A worker's generation, and the queue that it says it has. A generation that is another one than
    /// before says that the worker begins anew, from what it has executed.
    #[must_use]
    pub fn queue(&self, worker: WorkerId) -> (u32, i32) {
        self.cell(worker).queue()
    }

    /// Whether a worker is ready for its total.
    #[must_use]
    pub fn is_finished(&self, worker: WorkerId) -> bool {
        self.cell(worker).is_finished()
    }

    /// Whether the totals are due, and every worker is ready for its own. They are written together: some of
    /// them look like those of a session that had no more workers, and after a reboot the log is all there is.
    #[must_use]
    pub fn are_totals_ready(&self, at: &Cursors) -> bool {
        at.all_logged()
            && at.closing == 1
            && at.totals < at.workers
            && at.workers().is_some_and(|n| n.ids().all(|worker| self.is_finished(worker)))
    }

    /// Makes a worker ready for its total: that worker, or the balancer for a dead one.
    pub fn set_finished(&self, worker: WorkerId) {
        self.cell(worker).set_finished();
    }

    /// The balancer wants to be woken when this worker has executed so many.
    pub fn set_wake_at(&self, worker: WorkerId, executed: u64) {
        self.cell(worker).set_wake_at(executed);
    }

    /// Whether the balancer wants to be woken, now that a worker has executed so many.
    #[must_use]
    pub fn wants_wake(&self, worker: WorkerId, executed: u64) -> bool {
        self.cell(worker).wants_wake(executed)
    }
}
