//! What a directory's ledger says, read from outside through the product's own code.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use common::instance::directory::Directory;
use common::instance::objects;
use common::ledger::Ledger;
use common::ledger::cursors::Cursors;
use lbctl::inspect;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{IpcObject, Sandbox};

/// The directory's ledger, if there is one that is laid out.
pub(crate) fn ledger(dir: &Path) -> Option<Ledger> {
    let ledger = objects::find_ledger(&Directory::open(dir).ok()?).ok()?;
    ledger.filter(Ledger::is_published)
}

/// How many segments are under the directory's keys: more than one is a second ledger.
pub(crate) fn segments(dir: &Path) -> usize {
    let is_segment = |object: &IpcObject| matches!(object, IpcObject::Segment { .. });
    tests::objects(dir).iter().filter(|&object| is_segment(object)).count()
}

/// Whether a load balancer has its role in a sandbox.
pub(crate) fn has_balancer(sandbox: &Sandbox) -> bool {
    // Asked for nothing that is not there: it would be made.
    sandbox.log_path().exists() && sandbox.has_balancer()
}

/// How far the session has come, what is pending included: it will be in the log.
pub(crate) fn cursors(dir: &Path) -> Option<Cursors> {
    let ledger = ledger(dir)?;
    match ledger.pending() {
        Ok(Some((_, to))) => Some(to),
        _ => ledger.cursors().ok(),
    }
}

/// Whether a process, which is stopped, has committed a transaction and not finished it: one is
/// pending, and the log's lock is this process's.
pub(crate) fn is_inside_transaction(dir: &Path, pid: Pid) -> bool {
    let pending = ledger(dir).is_some_and(|ledger| ledger.is_pending());
    // It is stopped, so one sight is enough; and the table, read while others lock, may lack lines.
    pending
        && (0..LOOKS).any(|look| {
            if look > 0 {
                std::thread::sleep(LOOK_AGAIN_AFTER);
            }
            holds_log_lock(dir, pid)
        })
}

/// How often the kernel's table of locks is read before a lock is taken for absent.
const LOOKS: u32 = 5;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

fn holds_log_lock(dir: &Path, pid: Pid) -> bool {
    let Ok(log) = std::fs::metadata(dir.join(common::grammar::LOG_NAME)) else { return false };
    let (inode, pid) = (format!(":{}", log.ino()), pid.to_string());
    std::fs::read_to_string("/proc/locks").unwrap_or_default().lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, "FLOCK", _, _, holder, file, ..] if holder == pid && file.ends_with(&inode))
    })
}

/// Whether a process handles SIGTERM already, which would end it before.
pub(crate) fn handles_sigterm(pid: Pid) -> bool {
    tests::is_in_set(pid.as_raw(), "SigCgt:", Signal::SIGTERM)
}

/// Kills every process whose working directory is this one, but for one.
pub(crate) fn kill_others(dir: &Path, but: Option<Pid>) {
    for pid in tests::processes(dir).into_iter().map(Pid::from_raw).filter(|&pid| but != Some(pid))
    {
        // It may have ended since.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Everything that the ledger and the IPC tables say, for a person.
pub(crate) fn dump(dir: &Path) -> String {
    let mut dump = format!("{:#}\n", inspect::dump(dir));
    for table in ["msg", "shm"] {
        let path = format!("/proc/sysvipc/{table}");
        // Writing to a String cannot fail.
        let _ = writeln!(dump, "{path}\n{}", std::fs::read_to_string(&path).unwrap_or_default());
    }
    dump
}
