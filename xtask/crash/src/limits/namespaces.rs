//! Mounts and IPC objects that only a check's own thread and its children see.

use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::Failure;

/// An IPC namespace for this thread.
pub(super) fn own_objects() -> Result<(), Failure> {
    own(CloneFlags::CLONE_NEWIPC, "for an IPC namespace")
}

/// A mount namespace for this thread.
pub(super) fn own_mounts() -> Result<(), Failure> {
    own(CloneFlags::CLONE_NEWNS, "to mount file systems")
}

fn own(namespace: CloneFlags, purpose: &str) -> Result<(), Failure> {
    match tests::unshare(namespace) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => Err(Failure::NotRun(format!("CAP_SYS_ADMIN, {purpose}"))),
        Err(error) => Err(format!("unshare: {error}").into()),
    }
}
