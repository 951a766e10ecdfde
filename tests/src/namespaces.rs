//! Mounts and IPC objects that only one thread and its children see (`unshare(2)`).

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

/// Gives this thread namespaces of its own, which end with it and its children; EPERM without
/// `CAP_SYS_ADMIN`.
pub fn unshare(namespaces: CloneFlags) -> nix::Result<()> {
    nix::sched::unshare(namespaces)?;
    if namespaces.contains(CloneFlags::CLONE_NEWNS) {
        // Else what is mounted is seen outside too.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    }
    Ok(())
}
