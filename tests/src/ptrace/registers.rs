//! The registers of a system call: its number, its arguments, its result.

use nix::Result;
#[cfg(not(target_arch = "x86_64"))]
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// What a traced process asks of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which call.
    pub number: i64,
    /// The first ones of its arguments.
    pub arguments: [u64; 4],
}

/// A word of a traced process's memory.
pub fn pointed(pid: Pid, address: u64) -> Result<u64> {
    let address = std::ptr::without_provenance_mut(address as usize);
    ptrace::read(pid, address).map(i64::cast_unsigned)
}

/// The call that a process has entered.
#[cfg(target_arch = "x86_64")]
pub(super) fn call(pid: Pid) -> Result<Call> {
    let registers = ptrace::getregs(pid)?;
    Ok(Call {
        number: registers.orig_rax.cast_signed(),
        arguments: [registers.rdi, registers.rsi, registers.rdx, registers.r10],
    })
}

/// What the call that a process leaves came to.
#[cfg(target_arch = "x86_64")]
pub(super) fn result(pid: Pid) -> Result<i64> {
    ptrace::getregs(pid).map(|registers| registers.rax.cast_signed())
}

/// Replaces the third argument of the call that a process has entered: the length of a write.
#[cfg(target_arch = "x86_64")]
pub fn set_third_argument(pid: Pid, value: u64) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.rdx = value;
    ptrace::setregs(pid, registers)
}

/// Keeps the kernel from doing what a process has entered: there is no call of this number.
#[cfg(target_arch = "x86_64")]
pub fn skip_call(pid: Pid) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers)
}

/// Replaces the result of the call that a process leaves.
#[cfg(target_arch = "x86_64")]
pub fn set_result(pid: Pid, result: i64) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.rax = result.cast_unsigned();
    ptrace::setregs(pid, registers)
}

/// See above.
#[cfg(target_arch = "aarch64")]
pub(super) fn call(pid: Pid) -> Result<Call> {
    let registers = ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(pid)?.regs;
    Ok(Call {
        number: registers[8].cast_signed(),
        arguments: [registers[0], registers[1], registers[2], registers[3]],
    })
}

/// See above.
#[cfg(target_arch = "aarch64")]
pub(super) fn result(pid: Pid) -> Result<i64> {
    ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(pid).map(|r| r.regs[0].cast_signed())
}

/// See above.
#[cfg(target_arch = "aarch64")]
pub fn set_third_argument(pid: Pid, value: u64) -> Result<()> {
    let mut registers = ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(pid)?;
    registers.regs[2] = value;
    ptrace::setregset::<ptrace::regset::NT_PRSTATUS>(pid, registers)
}

/// There the number is in a set of registers (`NT_ARM_SYSTEM_CALL`) that nix does not reach.
#[cfg(not(target_arch = "x86_64"))]
pub fn skip_call(_: Pid) -> Result<()> {
    Err(Errno::ENOTSUP)
}

/// See above.
#[cfg(not(target_arch = "x86_64"))]
pub fn set_result(_: Pid, _: i64) -> Result<()> {
    Err(Errno::ENOTSUP)
}
