//! Mounts and IPC objects that only one thread and its children see (`unshare(2)`).

use std::io::Write;
use std::thread;

use nix::errno::Errno;
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

/// Runs a test in namespaces of its own, which end with its thread; or says why it cannot.
pub fn in_namespace(name: &str, flags: CloneFlags, test: impl FnOnce() + Send) {
    let outcome = thread::scope(|scope| {
        let run = || unshare(flags).map(|()| test());
        scope.spawn(run).join()
    });
    match outcome {
        Ok(Ok(())) => {}
        // Past the capture of the output: a test that did not run must be seen.
        Ok(Err(Errno::EPERM)) => {
            let _ = writeln!(std::io::stderr(), "{name}: not run: needs CAP_SYS_ADMIN");
        }
        Ok(Err(error)) => panic!("unshare: {error}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
