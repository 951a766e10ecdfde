//! Temp directories, and the end of everything in them when a signal ends this process.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::program::process_stat::ProcessStat;
use lbctl::objects::IpcObject;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc;

/// The part of a sandbox in which the programs run.
pub(crate) const RUN: &str = "run";

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Those that are there, and whether each is to be kept.
static LIVE: Mutex<Vec<(PathBuf, bool)>> = Mutex::new(Vec::new());

/// Those; but does not return once everything is being ended. What that does to the others is no finding, and
/// nobody starts anything any more.
pub(crate) fn unless_ending() -> MutexGuard<'static, Vec<(PathBuf, bool)>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temp directory, removed when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new one, whose name begins so.
    pub fn new(prefix: &str) -> io::Result<Self> {
        Self::new_in(&tempfile::env::temp_dir(), prefix)
    }

    /// The same, in that directory.
    pub fn new_in(dir: &Path, prefix: &str) -> io::Result<Self> {
        let mut live = unless_ending();
        let path = tempfile::Builder::new().prefix(prefix).tempdir_in(dir)?.keep();
        live.push((path.clone(), false));
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Does not remove it.
    pub fn keep(&self) {
        let mut live = unless_ending();
        live.iter_mut().filter(|(path, _)| *path == self.0).for_each(|(_, keep)| *keep = true);
    }

    pub(crate) fn is_kept(&self) -> bool {
        unless_ending().contains(&(self.0.clone(), true))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !self.is_kept() {
            // What cannot be removed stays.
            let _ = std::fs::remove_dir_all(&self.0);
        }
        // Not before it is gone: else a signal in between would leave it.
        unless_ending().retain(|(path, _)| *path != self.0);
    }
}

/// Ends this process with that exit code, and before all that it has started, IPC objects and temp directories.
pub(crate) fn end_everything(code: u8) -> ! {
    let live = unless_ending();
    let start = Instant::now();
    loop {
        let running = descendants();
        if running.is_empty() || start.elapsed() > PATIENCE {
            break;
        }
        for pid in running {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for (path, is_kept) in live.iter() {
        // Those in it are of a `cargo test` that was killed above. Whatever cannot be looked at must not keep the rest.
        let inner = std::fs::read_dir(path).into_iter().flatten().flatten();
        for root in [path.clone()].into_iter().chain(inner.map(|entry| entry.path())) {
            IpcObject::of(&root.join(RUN)).into_iter().flatten().for_each(IpcObject::remove);
        }
        if *is_kept {
            common::tell!("kept: {}", path.display());
        } else {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    std::process::exit(code.into())
}

/// All children, theirs, and so on, but for the dead.
fn descendants() -> Vec<i32> {
    let parent = |pid: i32| {
        let stat = ProcessStat::of(Pid::from_raw(pid)).filter(|stat| !stat.is_dead())?;
        Some(stat.parent.as_raw())
    };
    let parents: HashMap<i32, i32> =
        proc::all().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let own = std::process::id().cast_signed();
    let ancestors = |pid: &i32| std::iter::successors(parents.get(pid), |pid| parents.get(pid));
    parents.keys().copied().filter(|pid| ancestors(pid).any(|pid| *pid == own)).collect()
}
