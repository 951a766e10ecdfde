//! What is going on, for whoever watches: on stderr, and only if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over all rounds and sections.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// So many steps in all.
    pub(super) fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} [{elapsed}] {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Says what comes now.
    pub(super) fn show(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    /// One step is done.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
