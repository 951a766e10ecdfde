//! Which of the system calls that matter a program makes, in their order, seen with `ptrace(2)`.

use std::path::Path;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::exhaustive::registers;

/// As it stands in a register.
const IPC_RMID: u64 = libc::IPC_RMID as u64;

/// A completed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    LogWritten,
    LogSynced,
    StdoutWritten,
    FrameSent,
    SegmentRemoved,
}

/// A program that is stopped, so that nothing it does from now on is missed.
pub(super) struct Traced(Pid);

impl Traced {
    /// Attaches to a program that is running. Its tracer is this thread.
    pub(super) fn attach(pid: i32) -> nix::Result<Self> {
        let pid = Pid::from_raw(pid);
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
        ptrace::interrupt(pid)?;
        waitpid(pid, None)?;
        Ok(Self(pid))
    }

    /// Lets it run to its end, which must be exit code 0.
    pub(super) fn run(self, log: &Path) -> Result<Vec<Call>, String> {
        let mut calls = Vec::new();
        let mut entered = None;
        let mut signal = None;
        loop {
            let error = |error| format!("ptrace: {error}");
            ptrace::syscall(self.0, signal.take()).map_err(error)?;
            match waitpid(self.0, None).map_err(error)? {
                WaitStatus::Exited(_, 0) => return Ok(calls),
                WaitStatus::Stopped(_, sent) => signal = Some(sent),
                WaitStatus::PtraceSyscall(_) => {
                    let info = ptrace::syscall_info(self.0).map_err(error)?;
                    if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                        entered = Some(registers::call(self.0).map_err(error)?);
                    } else if let Some(call) = entered.take()
                        && registers::result(self.0).map_err(error)? >= 0
                    {
                        calls.extend(self.completed(&call, log));
                    }
                }
                WaitStatus::PtraceEvent(..) => {}
                other => return Err(format!("it ended with {other:?} after {calls:?}")),
            }
        }
    }

    /// What a successful call did, if it matters.
    fn completed(&self, call: &registers::Call, log: &Path) -> Option<Call> {
        let [first, second, ..] = call.arguments;
        let is_log = || {
            std::fs::read_link(format!("/proc/{}/fd/{first}", self.0)).is_ok_and(|file| file == log)
        };
        match call.number {
            libc::SYS_write if first == 1 => Some(Call::StdoutWritten),
            libc::SYS_write | libc::SYS_writev if is_log() => Some(Call::LogWritten),
            libc::SYS_fdatasync if is_log() => Some(Call::LogSynced),
            libc::SYS_msgsnd => Some(Call::FrameSent),
            libc::SYS_shmctl if second == IPC_RMID => Some(Call::SegmentRemoved),
            _ => None,
        }
    }
}
