//! In the place of `common::fence`.

/// Without its time limit: whoever is not woken sleeps for ever, which loom calls a deadlock. So no model needs
/// one.
pub(crate) mod futex {
    use std::collections::{BTreeMap, VecDeque};
    use std::io;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use crate::sync::{AtomicU32, Ordering};

    /// Comparing the word and going to sleep is one step for those who wake: the kernel does both under a lock.
    #[derive(Default)]
    struct Kernel {
        sleepers: Mutex<Sleepers>,
        woken: Condvar,
    }

    #[derive(Default)]
    struct Sleepers {
        /// Those on each word, the first one first.
        queues: BTreeMap<usize, VecDeque<u32>>,
        came: u32,
    }

    loom::lazy_static! {
        static ref KERNEL: Kernel = Kernel::default();
    }

    /// See [`crate::sync::begin`].
    pub(crate) fn begin() {
        drop(KERNEL.sleepers.lock());
    }

    pub(crate) enum Never {}

    impl From<Never> for io::Error {
        fn from(never: Never) -> Self {
            match never {}
        }
    }

    #[expect(clippy::unnecessary_wraps)] // the real one may fail
    pub(crate) fn wait(word: &AtomicU32, seen: u32, _limit: Duration) -> Result<(), Never> {
        let mut sleepers = KERNEL.sleepers.lock().unwrap();
        // SeqCst: before it looks, the kernel has a barrier.
        if word.load(Ordering::SeqCst) != seen {
            return Ok(());
        }
        sleepers.came += 1;
        let (word, own) = (std::ptr::from_ref(word).addr(), sleepers.came);
        sleepers.queues.entry(word).or_default().push_back(own);
        while sleepers.queues[&word].contains(&own) {
            sleepers = KERNEL.woken.wait(sleepers).unwrap();
        }
        Ok(())
    }

    pub(crate) fn wake_one(word: &AtomicU32) -> bool {
        wake(word, |queue| queue.pop_front().is_some())
    }

    pub(crate) fn wake_all(word: &AtomicU32) {
        wake(word, VecDeque::clear);
    }

    fn wake<T>(word: &AtomicU32, take: impl FnOnce(&mut VecDeque<u32>) -> T) -> T {
        let mut sleepers = KERNEL.sleepers.lock().unwrap();
        let taken = take(sleepers.queues.entry(std::ptr::from_ref(word).addr()).or_default());
        KERNEL.woken.notify_all();
        taken
    }
}
