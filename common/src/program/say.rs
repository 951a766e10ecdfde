//! What programs say on standard error, a line at a time: [`tell!`](crate::tell) what went wrong, and
//! [`note!`](crate::note) what goes on, which `--quiet` leaves out.
//!
//! What cannot be written there, as on a full disk, is lost: that is no reason to stop working, let alone to panic
//! as `eprintln!` does.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Takes a bar off its line, or nothing from an empty one (`console_codes(4)`).
const CLEAR_LINE: &str = "\r\x1b[K";

static QUIET: AtomicBool = AtomicBool::new(false);
static BESIDE_BAR: AtomicBool = AtomicBool::new(false);

/// Says what went wrong, or what is to be done about it.
#[macro_export]
macro_rules! tell {
    ($($line:tt)*) => {
        $crate::program::say::write_line(&format!($($line)*))
    };
}

/// Says what goes on: what is waited for, what was done.
#[macro_export]
macro_rules! note {
    ($($line:tt)*) => {
        if !$crate::program::say::is_quiet() {
            $crate::program::say::write_line(&format!($($line)*));
        }
    };
}

/// From now on, only what went wrong is said.
pub fn be_quiet() {
    QUIET.store(true, Relaxed);
}

/// Whether only that is said.
pub fn is_quiet() -> bool {
    QUIET.load(Relaxed)
}

/// Whether a progress bar, perhaps another process's, may be on the terminal's last line.
pub fn stand_beside_bar(is_there: bool) {
    BESIDE_BAR.store(is_there, Relaxed);
}

/// What takes a bar off the line of a terminal on which something is to be printed; it is drawn again below.
#[must_use]
pub fn before_output(output: &impl IsTerminal) -> &'static str {
    if BESIDE_BAR.load(Relaxed) && output.is_terminal() { CLEAR_LINE } else { "" }
}

/// What [`tell!`](crate::tell) does: one write, so that lines of several processes do not mix.
pub fn write_line(line: &str) {
    let mut stderr = io::stderr();
    let line = format!("{}{line}\n", before_output(&stderr));
    let _ = stderr.write_all(line.as_bytes());
}
