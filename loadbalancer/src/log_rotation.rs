//! When the log is to be renamed, so that the next session begins another one: asked for (SIGUSR1), or since it has
//! become so long.

use common::fence::signals;

pub(crate) struct LogRotation {
    /// Nothing but a service goes on with another log.
    serve: bool,
    size: Option<u64>,
    is_asked_for: bool,
    /// A log of this length could not be renamed.
    failed_at: u64,
}

impl LogRotation {
    pub(crate) fn new(serve: bool, size: Option<u64>) -> Self {
        Self { serve, size, is_asked_for: false, failed_at: 0 }
    }

    /// Takes up what was asked for since the last call. Before the look at the log: who asks has seen something in it.
    pub(crate) fn heed(&mut self) {
        if !signals::is_asked_to_rotate() {
            return;
        }
        self.is_asked_for = self.serve;
        if !self.serve {
            common::tell!(
                "loadbalancer: SIGUSR1 has the log rotated with --serve; without, the log is whole when this ends"
            );
        }
    }

    /// Whether a log of this length is to be renamed. It stays so until it is.
    pub(crate) fn is_due(&mut self, log_len: u64) -> bool {
        // An empty one has just been begun, or was never written to.
        self.is_asked_for &= log_len > 0;
        self.is_asked_for
            || self.size.is_some_and(|size| log_len >= self.failed_at.saturating_add(size))
    }

    /// It has another name by now.
    pub(crate) fn done(&mut self) {
        (self.is_asked_for, self.failed_at) = (false, 0);
    }

    /// It cannot be renamed: that is tried again when it is asked for, or has become longer by the size. Else it would
    /// be tried all the time.
    pub(crate) fn fail(&mut self, log_len: u64) {
        (self.is_asked_for, self.failed_at) = (false, log_len);
    }
}
