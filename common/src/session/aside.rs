//! A log is set aside: one of which every session has ended, or one with an unfinished session that is not to go on.

use std::path::PathBuf;

use crate::dead::settled;
use crate::error::Error;
use crate::grammar::rotation::Workers;
use crate::history;
use crate::instance::lock::{LogLock, Wait};
use crate::instance::objects::find_ledger;
use crate::instance::role::Role;
use crate::instance::{Instance, log_file};
use crate::ledger::Ledger;

use super::begin::{Opened, attach};
use super::end::{remove, rename_log};

/// Renames the log of which every session has ended, if there is anything in it. Returns its new name; nothing: it
/// is empty, or goes on, since a session has begun. By one that has a role: so everybody is known to be here.
pub fn rotate(instance: &Instance, durable: bool) -> Result<Option<PathBuf>, Error> {
    let _lock = LogLock::wait(instance.log(), &Wait::Unasked)?;
    let rests = matches!(attach(instance, durable)?, Opened::Nothing | Opened::Remains);
    let is_empty = instance.checked_log_len()? == 0;
    (rests && !is_empty).then(|| rename_log(instance, durable)).transpose()
}

/// Sets an unfinished session aside: its log is renamed, and only then its IPC objects are removed. Returns
/// the log's new name, or nothing when there was no session. If `durable`, that is on the disk.
pub fn set_aside(
    instance: &Instance,
    workers: Workers,
    durable: bool,
) -> Result<Option<PathBuf>, Error> {
    instance.hold(Role::Balancer(workers))?;
    let _lock = LogLock::wait(instance.log(), &Wait::Unasked)?;
    let log_len = instance.checked_log_len()?;
    let complete = match history::read(instance.log(), log_len) {
        Ok(history) => !history.replay.is_begun() && history.whole_len == log_len,
        Err(Error::LogUnreadable { .. }) => false,
        Err(error) => return Err(error),
    };
    // Damaged or of another version: it is the session that is to be set aside.
    let ledger = match find_ledger(instance.directory()) {
        Err(Error::Damaged { segment, .. }) => Ledger::attach(segment).ok(),
        found => found?,
    };
    // Totals of the first workers look like those of a session that had no more of them.
    let unfinished = ledger.as_ref().is_some_and(|ledger| {
        ledger.identity().is_ok_and(|of| of.log == instance.identity().log)
            && !ledger.cursors().is_ok_and(|at| at.is_ended())
            && !ledger.committed().is_ok_and(|at| at.submissions == 0)
    });
    let to_keep = unfinished || !complete;
    let name = to_keep.then(|| rename_log(instance, durable)).transpose()?;
    if name.is_none() {
        settled::resolve(instance)?;
    }
    if let Some(ledger) = &ledger {
        remove(instance, ledger)?;
    }
    log_file::remove_unfinished_copy(instance.directory())?;
    Ok(name)
}
