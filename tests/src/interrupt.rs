//! Ctrl-C, SIGTERM, SIGHUP: what a tool has started ends with it, its IPC objects and temp directories too.

use common::error::signal_exit_code;
use common::fence::signals;
use nix::sys::signal::{SigSet, Signal};

use crate::temp_dir::end_everything;

/// From now on these signals end everything. Called before anything is started: a thread waits for them, and all
/// others leave them to it.
pub fn end_with_signals() {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // As nohup(1) has it.
        if signal != Signal::SIGHUP || !signals::is_ignored(signal).unwrap_or(false) {
            set.add(signal);
        }
    }
    // It fails only for a set that is none.
    if set.thread_block().is_ok() {
        std::thread::spawn(move || {
            set.wait().map(|signal| end_everything(signal_exit_code(signal)))
        });
    }
}
