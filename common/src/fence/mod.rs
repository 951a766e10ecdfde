//! The one place with `unsafe`: SysV IPC, futex and signal handlers, inside safe functions.
//!
//! Everything here is a thin wrapper that reports errors as [`nix::errno::Errno`] and keeps no policy:
//! who may use which object, and what its bytes mean, is decided by the callers.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use nix::Result;
use nix::errno::Errno;

pub mod futex;
pub mod message_queue;
pub mod shared_memory;
pub mod signals;

/// Who owns an IPC object and who may use it; the part of `IPC_STAT` that all kinds share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The key it was made with; 0 once it was removed.
    pub key: i32,
    /// Effective user of the owner.
    pub owner: u32,
    /// Effective user of the creator.
    pub creator: u32,
    /// The nine permission bits.
    pub mode: u32,
}

impl Permissions {
    fn new(perm: &libc::ipc_perm) -> Self {
        let mode = u32::from(perm.mode) & 0o777;
        Self { key: perm.__key, owner: perm.uid, creator: perm.cuid, mode }
    }
}

/// `msgctl(2)` or `shmctl(2)`.
type Control<T> = unsafe extern "C" fn(i32, i32, *mut T) -> i32;

/// Has one of them fill a buffer in; also returns what the call does.
///
/// # Safety
///
/// The command must write to no more than a `T`, and zeros must be a valid one.
unsafe fn ask<T>(control: Control<T>, id: i32, command: i32) -> Result<(i32, T)> {
    let mut buffer = MaybeUninit::zeroed();
    // SAFETY: the buffer is large enough, as the caller promises.
    let returned = Errno::result(unsafe { control(id, command, buffer.as_mut_ptr()) })?;
    // SAFETY: zeros are valid, as the caller promises, and the kernel wrote over them.
    Ok((returned, unsafe { buffer.assume_init() }))
}
