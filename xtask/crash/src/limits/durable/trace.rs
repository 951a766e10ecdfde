//! Which of the system calls that matter a program makes, in their order, seen with `ptrace(2)`.

use std::path::Path;

use common::queue::MARK_LEN;
use nix::libc;
use nix::unistd::Pid;
use tests::ptrace::{self, Call, End, Event};

/// As it is in a register.
const IPC_RMID: u64 = libc::IPC_RMID as u64;

/// What a completed call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    LogWritten,
    LogSynced,
    StdoutWritten,
    FrameSent,
    SegmentRemoved,
}

/// Lets a program that is attached to run to its end, which must be exit code 0.
pub(super) fn to_its_end(pid: Pid, log: &Path) -> Result<Vec<Effect>, String> {
    let error = |error| format!("ptrace: {error}");
    let (mut effects, mut entered, mut signal) = (Vec::new(), None, None);
    loop {
        ptrace::resume(pid, true, signal).map_err(error)?;
        let (_, event) = ptrace::next(Some(pid)).map_err(error)?;
        match event {
            Event::Ended(End::Code(0)) => return Ok(effects),
            Event::Ended(other) => {
                return Err(format!("it ended with {other:?} after {effects:?}"));
            }
            Event::Entry(call) => entered = Some(call),
            Event::Exit(0..) => {
                effects.extend(entered.take().and_then(|call| completed(pid, &call, log)));
            }
            Event::Exit(_) => entered = None,
            _ => {}
        }
        signal = event.signal();
    }
}

/// What a successful call did, if it matters.
fn completed(pid: Pid, call: &Call, log: &Path) -> Option<Effect> {
    let [first, second, third, _] = call.arguments;
    let is_log =
        || std::fs::read_link(format!("/proc/{pid}/fd/{first}")).is_ok_and(|file| file == log);
    match call.number {
        libc::SYS_write if first == 1 => Some(Effect::StdoutWritten),
        libc::SYS_write | libc::SYS_writev if is_log() => Some(Effect::LogWritten),
        libc::SYS_fdatasync if is_log() => Some(Effect::LogSynced),
        libc::SYS_msgsnd if third != MARK_LEN as u64 => Some(Effect::FrameSent),
        libc::SYS_shmctl if second == IPC_RMID => Some(Effect::SegmentRemoved),
        _ => None,
    }
}
