//! A worker's cell in the ledger: what it has done, what it has in hand, and which queue it has. Its orderings
//! are checked by `tests/models`.

use serde::{Deserialize, Serialize};

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// See the diagram in [`crate::ledger::layout`].
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Cell {
    pub(crate) executed: AtomicU64,
    pub(crate) executed_again: AtomicU64,
    pub(crate) wake_at: AtomicU64,
    pub(crate) generation: AtomicU32,
    pub(crate) queue: AtomicU32,
    pub(crate) done: AtomicU32,
    pub(crate) toll: AtomicU32,
    pub(crate) own: AtomicU64,
    pub(crate) since_ms: AtomicU64,
    pub(crate) attempt: AtomicU32,
    pub(crate) toll_again: AtomicU32,
}

/// Whether a worker is at its message in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandState {
    /// It is in nobody's hands: its worker has died, or was interrupted.
    #[default]
    Left,
    /// An attempt runs.
    Running,
    /// It has failed, and is tried again after a pause; or its letter is being written.
    Pausing,
}

/// The message that a worker with a COMMAND has begun and not counted yet. For the worker's next life, if this
/// one is killed; and for whoever wants to see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHand {
    /// The number of its last attempt, from 1.
    pub attempt: u32,
    /// When that began, in ms since 1970.
    pub since_ms: u64,
    /// What becomes of it now.
    pub state: HandState,
    /// How many attempts have failed.
    pub failures: u16,
    /// In how many attempts the worker died.
    pub deaths: u8,
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

    /// Says what the worker has in hand: its own message of this number. The worker only, before it goes on.
    pub fn set_in_hand(&self, own: u64, it: &InHand) {
        let [failures, deaths] = [u32::from(it.failures), u32::from(it.deaths)];
        let state = match it.state {
            HandState::Left => 0,
            HandState::Running => 1,
            HandState::Pausing => 2,
        };
        let toll = state | deaths << 8 | failures << 16;
        self.attempt.store(it.attempt, Ordering::SeqCst);
        self.since_ms.store(it.since_ms, Ordering::SeqCst);
        self.toll.store(toll, Ordering::SeqCst);
        self.toll_again.store(toll, Ordering::SeqCst);
        // Last: as long as it is another message's number, nothing of this one was begun.
        self.own.store(own.wrapping_add(1), Ordering::SeqCst);
    }

    /// What the worker has in hand, if that is its own message of this number. A changed bit in it does not make
    /// a message dead: of what is there twice, the smaller one counts.
    #[must_use]
    pub fn in_hand(&self, own: u64) -> Option<InHand> {
        let is_it = self.own.load(Ordering::SeqCst) == own.wrapping_add(1);
        let [a, b] = [&self.toll, &self.toll_again].map(|toll| toll.load(Ordering::SeqCst));
        let part = |shift: u32, mask: u32| (a >> shift & mask).min(b >> shift & mask);
        is_it.then(|| InHand {
            attempt: self.attempt.load(Ordering::SeqCst),
            since_ms: self.since_ms.load(Ordering::SeqCst),
            state: match part(0, 3) {
                1 => HandState::Running,
                2 => HandState::Pausing,
                _ => HandState::Left,
            },
            failures: part(16, 0xffff) as u16, // masked
            deaths: part(8, 0xff) as u8,       // masked
        })
    }

    /// Says that the worker has a new queue, and with it a new generation: the worker only.
    pub fn set_queue(&self, queue: i32) {
        self.queue.store(queue.cast_unsigned(), Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Says that the worker is about to make a queue with this key: the queue is named before it is there.
    pub fn set_queue_key(&self, key: i32) {
        self.queue.store(key.wrapping_neg().cast_unsigned(), Ordering::SeqCst);
    }

    /// Whether that is the queue which the worker has, or was about to make.
    #[must_use]
    pub fn names(&self, queue: i32, key: i32) -> bool {
        [queue, key.wrapping_neg()].contains(&self.queue.load(Ordering::SeqCst).cast_signed())
    }

    /// The worker's generation, and the queue that it says it has. It has none if that is below 0.
    #[must_use]
    pub fn queue(&self) -> (u32, i32) {
        let generation = self.generation.load(Ordering::SeqCst);
        (generation, self.queue.load(Ordering::SeqCst).cast_signed())
    }

    /// Whether the worker is ready for its total.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst) == 1
    }

    /// Makes it ready for its total.
    pub fn set_done(&self) {
        // SeqCst: of two that finish at once, one sees both.
        self.done.store(1, Ordering::SeqCst);
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
