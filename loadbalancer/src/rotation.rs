//! When the log is to be renamed, so that the next session begins another one: asked for (SIGUSR1), or since it has
//! become so long.

use common::fence::signals;

pub(crate) struct Rotation {
    size: Option<u64>,
    is_asked_for: bool,
}

impl Rotation {
    pub(crate) fn new(size: Option<u64>) -> Self {
        Self { size, is_asked_for: false }
    }

    /// Whether a log of this length is to be renamed. It stays so until [`Rotation::done`].
    pub(crate) fn is_due(&mut self, log_len: u64) -> bool {
        self.is_asked_for |= signals::is_asked_to_rotate();
        // An empty one has just been begun, or was never written to.
        self.is_asked_for &= log_len > 0;
        self.is_asked_for || self.size.is_some_and(|size| log_len >= size)
    }

    /// It has another name by now.
    pub(crate) fn done(&mut self) {
        self.is_asked_for = false;
    }

    /// It cannot be renamed, and would be tried all the time.
    pub(crate) fn give_up(&mut self) {
        *self = Self::new(None);
    }
}
