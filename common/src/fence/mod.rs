//! The one place with `unsafe`: SysV IPC, futex and signal handlers, behind safe functions.
//!
//! Everything here is a thin wrapper that reports errors as [`nix::errno::Errno`] and keeps no policy:
//! who may use which object, and what its bytes mean, is decided by the callers.
#![allow(unsafe_code)]

pub mod foreign;
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
        Self {
            key: perm.__key,
            owner: perm.uid,
            creator: perm.cuid,
            mode: u32::from(perm.mode) & 0o777,
        }
    }
}
