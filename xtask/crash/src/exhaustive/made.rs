//! Which calls a process makes from main on, and the how many-th of its number each is: so a point names
//! the same call in runs that differ in others.

use std::collections::HashMap;

use ::tests::ptrace::Call;
use nix::libc;
use nix::unistd::Pid;

use crate::errors::table::{self, Row};

/// A call that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) number: i64,
    /// The process's n-th of this number, from main on.
    pub(crate) n: u32,
    /// Nothing: the table does not have it.
    pub(crate) row: Option<&'static Row>,
}

impl Made {
    /// One that a process has just entered.
    pub(crate) fn of(pid: Pid, call: &Call, n: u32) -> Self {
        Self { number: call.number, n, row: table::row_of(pid, call) }
    }
}

/// Counts the calls of each number.
#[derive(Debug, Default)]
pub(super) struct Counts {
    in_main: bool,
    made: HashMap<i64, u32>,
}

impl Counts {
    /// Which one of its number a call is; nothing before main.
    ///
    /// What comes before is the dynamic linker's, the C library's and the Rust runtime's: of this the last
    /// is its handler for SIGBUS.
    pub(super) fn count(&mut self, call: &Call) -> Option<u32> {
        if !self.in_main {
            let [signal, action, ..] = call.arguments;
            self.in_main = call.number == libc::SYS_rt_sigaction
                && signal == libc::SIGBUS as u64
                && action != 0;
            return None;
        }
        let n = self.made.entry(call.number).or_default();
        *n += 1;
        Some(*n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_number_and_from_main_on() {
        let mut counts = Counts::default();
        let mut count = |number, first, second| {
            counts.count(&Call { number, arguments: [first, second, 0, 0] })
        };
        assert_eq!(count(libc::SYS_read, 3, 1), None);
        assert_eq!(count(libc::SYS_rt_sigaction, libc::SIGBUS as u64, 0), None, "only asked for");
        assert_eq!(count(libc::SYS_rt_sigaction, libc::SIGBUS as u64, 1), None);
        assert_eq!(count(libc::SYS_read, 3, 1), Some(1));
        assert_eq!(count(libc::SYS_close, 3, 1), Some(1));
        assert_eq!(count(libc::SYS_read, 3, 1), Some(2));
    }
}
