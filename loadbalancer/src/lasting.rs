//! How long something has been as it is, and what was said of it.

use std::time::{Duration, Instant};

/// Something that is acted on, or reported once, only when it stays as it is.
#[derive(Default)]
pub(crate) struct Lasting<T> {
    state: T,
    /// Nothing: it begins with the next look.
    pub(crate) since: Option<Instant>,
    pub(crate) reported: bool,
}

impl<T: PartialEq> Lasting<T> {
    /// For how long it has been seen in this state.
    pub(crate) fn lasts(&mut self, state: T) -> Duration {
        if self.state != state {
            *self = Self { state, since: None, reported: false };
        }
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// Whether this is the first time.
pub(crate) fn once(reported: &mut bool) -> bool {
    !std::mem::replace(reported, true)
}
