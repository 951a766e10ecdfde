//! Which of the system calls that matter a program makes, in their order, seen with `ptrace(2)`.

use std::path::Path;

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

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
        let mut signal = None;
        loop {
            let error = |error| format!("ptrace: {error}");
            ptrace::syscall(self.0, signal.take()).map_err(error)?;
            match waitpid(self.0, None).map_err(error)? {
                WaitStatus::Exited(_, 0) => return Ok(calls),
                WaitStatus::Stopped(_, sent) => signal = Some(sent),
                WaitStatus::PtraceSyscall(_) => {
                    let registers = ptrace::getregs(self.0).map_err(error)?;
                    calls.extend(self.completed(&registers, log));
                }
                WaitStatus::PtraceEvent(..) => {}
                other => return Err(format!("it ended with {other:?} after {calls:?}")),
            }
        }
    }

    /// What a stop tells; nothing at the entry of a call, or if it failed.
    fn completed(&self, registers: &user_regs_struct, log: &Path) -> Option<Call> {
        // At the entry the result is -ENOSYS.
        if registers.rax.cast_signed() < 0 {
            return None;
        }
        let (first, second) = (registers.rdi, registers.rsi);
        let is_log = || {
            std::fs::read_link(format!("/proc/{}/fd/{first}", self.0)).is_ok_and(|file| file == log)
        };
        match registers.orig_rax.cast_signed() {
            libc::SYS_write if first == 1 => Some(Call::StdoutWritten),
            libc::SYS_write | libc::SYS_writev if is_log() => Some(Call::LogWritten),
            libc::SYS_fdatasync if is_log() => Some(Call::LogSynced),
            libc::SYS_msgsnd => Some(Call::FrameSent),
            libc::SYS_shmctl if second == IPC_RMID => Some(Call::SegmentRemoved),
            _ => None,
        }
    }
}
