//! Mounts and IPC objects that only a check's own thread and its children see.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tests::Sandbox;

use super::Outcome;
use crate::crash::exhaustive::clear;

/// An IPC namespace for this thread; or what it needs.
pub(super) fn own_objects() -> Result<Option<Outcome>, String> {
    own(CloneFlags::CLONE_NEWIPC, "for an IPC namespace")
}

/// A mount namespace for this thread; or what it needs.
pub(super) fn own_mounts() -> Result<Option<Outcome>, String> {
    if let Some(needs) = own(CloneFlags::CLONE_NEWNS, "to mount file systems")? {
        return Ok(Some(needs));
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|error| format!("mount: {error}"))?;
    Ok(None)
}

fn own(namespace: CloneFlags, purpose: &str) -> Result<Option<Outcome>, String> {
    match unshare(namespace) {
        Ok(()) => Ok(None),
        Err(Errno::EPERM) => Ok(Some(Outcome::NotRun(format!("CAP_SYS_ADMIN, {purpose}")))),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// A sandbox with a file system mounted over it or a part of it: unmounted when dropped, so that the
/// directory can be removed.
pub(super) struct Mounted {
    pub(super) sandbox: Sandbox,
    pub(super) at: PathBuf,
}

impl std::ops::Deref for Mounted {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // While the directory is still the one that its IPC objects belong to.
        clear(&self.sandbox);
        // Without it a temp directory stays behind, no more.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}
