//! A program killed or signalled at one of its system calls.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::Options;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc::is_in_set;
use crate::ptrace::{self, End, Event};

/// Longer than any timer of the programs.
const STAND_STILL: Duration = Duration::from_millis(30);

/// Runs a program, and kills it when it has entered or left its `at`th system call (each counts twice, from 0)
/// since it had a file open, whatever became of that. Returns the exit code of one that ended before.
#[must_use]
pub fn killed_at(program: &Command, file: &Path, at: usize) -> Option<i32> {
    let file = file.canonicalize().expect("the file is there");
    let mut count = None;
    let end = at_each_call(program, |pid| {
        let is_counted = count.is_some() || has_open(pid, &file);
        count = is_counted.then(|| count.map_or(0, |count| count + 1));
        if count == Some(at) {
            kill(pid, Signal::SIGKILL).expect("kill");
        }
    });
    match end {
        End::Code(code) => Some(code),
        End::Signal(Signal::SIGKILL) if count == Some(at) => None,
        End::Signal(signal) => panic!("{signal}"),
    }
}

/// Runs a program, and sends it a signal as soon as it handles it. It is stopped then at each system call until
/// another signal comes, or does not: as on a machine that has no time for it. Returns how it ended.
#[must_use]
pub fn signalled_at_once(program: &Command, signal: Signal, other: Signal) -> End {
    let (mut is_sent, mut has_come) = (false, false);
    at_each_call(program, |pid| {
        if is_sent {
            let start = Instant::now();
            while !has_come && start.elapsed() < STAND_STILL {
                has_come = is_in_set(pid.as_raw(), "ShdPnd:", other);
                std::thread::yield_now();
            }
        } else if is_in_set(pid.as_raw(), "SigCgt:", signal) {
            kill(pid, signal).expect("kill");
            is_sent = true;
        }
    })
}

/// Runs a program to its end, with something to do whenever it has entered or left a system call.
fn at_each_call(program: &Command, mut act: impl FnMut(Pid)) -> End {
    let mut program = ptrace::startable(program);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = ptrace::start(&mut program, Options::empty()).expect("ptrace");
    let mut signal = None;
    loop {
        ptrace::resume(pid, true, signal).expect("ptrace");
        let event = loop {
            match ptrace::next(Some(pid)) {
                Err(Errno::EINTR) => {}
                next => break next.expect("ptrace").1,
            }
        };
        match event {
            Event::Ended(end) => return end,
            Event::Entry(_) | Event::Exit(_) => act(pid),
            _ => {}
        }
        signal = event.signal();
    }
}

fn has_open(pid: Pid, file: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut paths = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    paths.any(|path| path == file)
}
