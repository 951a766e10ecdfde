//! In the place of `common::fence`.

/// Without its time limit: whoever is not woken sleeps for ever, which loom calls a deadlock. So no model needs
/// one.
pub(crate) mod futex {
    use std::collections::BTreeMap;
    use std::io;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use crate::sync::{AtomicU32, Ordering};

    /// Comparing the word and going to sleep is one step for those who wake: the kernel does both under a lock.
    #[derive(Default)]
    struct Kernel {
        /// How often the sleepers on each word were woken.
        wakes: Mutex<BTreeMap<usize, u32>>,
        woken: Condvar,
    }

    loom::lazy_static! {
        static ref KERNEL: Kernel = Kernel::default();
    }

    /// See [`crate::sync::begin`].
    pub(crate) fn begin() {
        drop(KERNEL.wakes.lock());
    }

    pub(crate) enum Never {}

    impl From<Never> for io::Error {
        fn from(never: Never) -> Self {
            match never {}
        }
    }

    #[expect(clippy::unnecessary_wraps)] // the real one may fail
    pub(crate) fn wait(word: &AtomicU32, seen: u32, _limit: Duration) -> Result<(), Never> {
        let mut wakes = KERNEL.wakes.lock().unwrap();
        // SeqCst: before it looks, the kernel has a barrier.
        if word.load(Ordering::SeqCst) != seen {
            return Ok(());
        }
        let word = std::ptr::from_ref(word).addr();
        let before = wakes.get(&word).copied();
        while wakes.get(&word).copied() == before {
            wakes = KERNEL.woken.wait(wakes).unwrap();
        }
        Ok(())
    }

    pub(crate) fn wake_all(word: &AtomicU32) {
        let mut wakes = KERNEL.wakes.lock().unwrap();
        *wakes.entry(std::ptr::from_ref(word).addr()).or_default() += 1;
        KERNEL.woken.notify_all();
    }
}
