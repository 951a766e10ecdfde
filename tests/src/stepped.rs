//! A program killed or signalled at one of its system calls, where ptrace(2) stops it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::temp_dir::unless_ending;

/// Longer than any timer of the programs.
const STAND_STILL: Duration = Duration::from_millis(30);

/// Runs a program, and kills it when it has entered or left its `at`th system call (each counts twice, from 0)
/// since it had a file open, whatever became of that. Returns the exit code of one that ended before.
#[must_use]
pub fn killed_at(program: &Command, file: &Path, at: usize) -> Option<i32> {
    let file = file.canonicalize().expect("the file is there");
    let pid = seize(program);
    let (mut is_program, mut count) = (false, None);
    loop {
        let mut signal = None;
        match wait(pid, WaitPidFlag::__WALL) {
            WaitStatus::Exited(_, code) => return Some(code),
            WaitStatus::PtraceEvent(_, _, event) => {
                is_program |= event == Event::PTRACE_EVENT_EXEC as i32;
            }
            WaitStatus::PtraceSyscall(_) if is_program => {
                let is_counted = count.is_some() || has_open(pid, &file);
                count = is_counted.then(|| count.map_or(0, |count| count + 1));
                if count == Some(at) {
                    kill(pid, Signal::SIGKILL).expect("kill");
                    let ended = wait(pid, WaitPidFlag::__WALL);
                    assert!(
                        matches!(ended, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
                        "{ended:?}"
                    );
                    return None;
                }
            }
            WaitStatus::Stopped(_, with) => signal = Some(with),
            WaitStatus::PtraceSyscall(_) => {}
            other => panic!("{other:?}"),
        }
        ptrace::syscall(pid, signal).expect("ptrace");
    }
}

/// Runs a program, and sends it a signal as soon as it handles it. It stands still then at each system call until
/// another signal comes, or does not: as on a machine that has no time for it. Returns how it ended.
#[must_use]
pub fn signalled_at_once(program: &Command, signal: Signal, other: Signal) -> WaitStatus {
    let pid = seize(program);
    let (mut is_program, mut is_sent, mut has_come) = (false, false, false);
    loop {
        let mut with = None;
        match wait(pid, WaitPidFlag::__WALL) {
            ended @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return ended,
            WaitStatus::PtraceEvent(_, _, event) => {
                is_program |= event == Event::PTRACE_EVENT_EXEC as i32;
            }
            WaitStatus::PtraceSyscall(_) if is_program && is_sent && !has_come => {
                let start = Instant::now();
                while !has_come && start.elapsed() < STAND_STILL {
                    has_come = is_in(pid, "ShdPnd", other);
                    std::thread::yield_now();
                }
            }
            WaitStatus::PtraceSyscall(_) if is_program && is_in(pid, "SigCgt", signal) => {
                if !is_sent {
                    kill(pid, signal).expect("kill");
                }
                is_sent = true;
            }
            WaitStatus::Stopped(_, came) => with = Some(came),
            WaitStatus::PtraceSyscall(_) => {}
            other => panic!("{other:?}"),
        }
        ptrace::syscall(pid, with).expect("ptrace");
    }
}

/// Whether a signal is in one of the sets of `/proc/PID/status` (`proc_pid_status(5)`).
fn is_in(pid: Pid, set: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

/// Starts a program that this thread traces from its exec on.
fn seize(program: &Command) -> Pid {
    // A shell that stops before it becomes the program: this is when it can be seized.
    let mut command = Command::new("sh");
    command.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]);
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().expect("a directory"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let live = unless_ending();
    let pid = Pid::from_raw(command.spawn().expect("sh").id().cast_signed());
    drop(live);
    let stopped = wait(pid, WaitPidFlag::WUNTRACED);
    assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("ptrace");
    kill(pid, Signal::SIGCONT).expect("kill");
    pid
}

fn wait(pid: Pid, flags: WaitPidFlag) -> WaitStatus {
    loop {
        match waitpid(pid, Some(flags)) {
            Err(Errno::EINTR) => {}
            status => return status.expect("waitpid"),
        }
    }
}

fn has_open(pid: Pid, file: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut paths = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    paths.any(|path| path == file)
}
