//! The run ends with its guard, also when that is killed. The run's standard input is a pipe from it, which nobody writes
//! to: it is closed by the guard's death.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{fs, thread};

use common::error::exit;
use nix::mount::{MntFlags, umount2};

use crate::host::{self, DISK};
use crate::place::Place;

/// The first argument of this program that makes it clear a directory.
const NAME: &str = "clear";

/// From now on this process ends everything once its guard has ended.
pub(crate) fn hold(place: &Place) {
    let dir = place.dir.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        // All other threads end by that, so that nobody starts anything any more. The children are the same.
        let error = Command::new("/proc/self/exe").arg(NAME).arg(&dir).exec();
        common::tell!("cluster: {}: {error}", dir.display());
        std::process::exit(exit::TROUBLE.into());
    });
}

/// When this process is only to clear a directory: kills all its children, and removes it.
pub(crate) fn be_cleaner() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == NAME).then(|| {
        host::kill_all();
        if let Some(dir) = args.next() {
            clear(Path::new(&dir));
        }
        ExitCode::from(exit::TROUBLE)
    })
}

fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(DISK) {
            // It fails where there are no disks.
            let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
        }
    }
    // What cannot be removed stays.
    let _ = fs::remove_dir_all(dir);
}
