//! How far the session is, for people at a terminal: a bar with count, rate and time left.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use common::program::say;
use indicatif::{HumanFloatCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// What takes less time needs no bar.
const SHOW_AFTER: Duration = Duration::from_millis(500);
/// How often one that is shown is brought up to date.
pub(crate) const REFRESH: Duration = Duration::from_millis(100);

/// Not as wide as the terminal: what people type there, as ^C, pushes its end onto the next line.
const TEMPLATE: &str = "{bar:30} {human_pos}/{human_len} messages, {rate}/s, {eta} left";

/// Drawn by the balancer's own loop, not by a thread: a signal that a thread took would not wake the loop.
pub(crate) struct Bar {
    is_seen: bool,
    since: Option<Instant>,
    shown: Option<ProgressBar>,
}

impl Bar {
    /// Nobody sees one off a terminal, nor with `--quiet`.
    pub(crate) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_seen = io::stderr().is_terminal() && !is_dumb && !say::is_quiet();
        Self { is_seen, since: None, shown: None }
    }

    /// Whether anybody sees it.
    pub(crate) fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// So many messages of so many are executed.
    pub(crate) fn show(&mut self, executed: u64, messages: u64) {
        if executed >= messages {
            return self.clear();
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < SHOW_AFTER {
            return;
        }
        let bar = self.shown.get_or_insert_with(|| {
            say::stand_beside_bar(true);
            // What is wrong with a template shows at the first bar.
            let style = ProgressStyle::with_template(TEMPLATE)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                    let _ = write!(out, "{}", HumanFloatCount(state.per_sec().round()));
                });
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
        });
        bar.set_length(messages);
        bar.set_position(executed);
    }

    /// Takes it off the terminal.
    pub(crate) fn clear(&mut self) {
        self.since = None;
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
            say::stand_beside_bar(false);
        }
    }
}
