//! Mounts and IPC objects that only a check's own thread and its children see.

use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::Outcome;

/// An IPC namespace for this thread; or what it needs.
pub(super) fn own_objects() -> Result<Option<Outcome>, String> {
    own(CloneFlags::CLONE_NEWIPC, "for an IPC namespace")
}

/// A mount namespace for this thread; or what it needs.
pub(super) fn own_mounts() -> Result<Option<Outcome>, String> {
    own(CloneFlags::CLONE_NEWNS, "to mount file systems")
}

fn own(namespace: CloneFlags, purpose: &str) -> Result<Option<Outcome>, String> {
    match tests::unshare(namespace) {
        Ok(()) => Ok(None),
        Err(Errno::EPERM) => Ok(Some(Outcome::NotRun(format!("CAP_SYS_ADMIN, {purpose}")))),
        Err(error) => Err(format!("unshare: {error}")),
    }
}
