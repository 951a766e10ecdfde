//! A program killed at one of its system calls, which ptrace(2) counts.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::temp_dir::unless_ending;

/// Runs a program, and kills it when it has entered or left its `at`th system call (each counts twice, from 0)
/// since it had a file open, whatever became of that. Returns the exit code of one that ended before.
#[must_use]
pub fn killed_at(program: &Command, file: &Path, at: usize) -> Option<i32> {
    let file = file.canonicalize().expect("the file is there");
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
