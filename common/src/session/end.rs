//! A session's end: its objects are removed, and perhaps its log is renamed. Under the log's lock.

use std::path::PathBuf;

use crate::dead::settled;
use crate::error::Error;
use crate::fence::shared_memory;
use crate::instance::objects::{find_ledger, removed};
use crate::instance::{Instance, log_file};
use crate::ledger::Ledger;
use crate::queue;

/// Removes an ended session, and renames its log if that is to be: returns its new name, or why it has none. Under the
/// log's lock: so no session begins in between. A kill in between leaves the log as it is, and whoever wants it
/// renamed sees that.
pub(crate) fn end(
    instance: &Instance,
    ledger: &Ledger,
    durable: bool,
) -> Result<Option<Result<PathBuf, Error>>, Error> {
    let rotates = ledger.cursors()?.rotates();
    if durable {
        instance.log().sync_data().map_err(Error::Log)?; // while the ledger could still show what is missing
    }
    remove(instance, ledger)?;
    Ok(rotates.then(|| rename_log(instance, durable)))
}

pub(super) fn rename_log(instance: &Instance, durable: bool) -> Result<PathBuf, Error> {
    settled::resolve(instance)?; // while the log is still the one that it was submitted to
    let name = log_file::set_aside(instance.directory())?;
    if durable {
        instance.directory().sync()?;
    }
    Ok(name)
}

/// Whether the log that is open here was renamed, and no session is in it: then it may be left for the one that has
/// its name by now.
pub fn is_log_left(instance: &Instance) -> Result<bool, Error> {
    if !instance.is_log_replaced() {
        return Ok(false);
    }
    let Some(ledger) = find_ledger(instance.directory())? else { return Ok(true) };
    Ok(!ledger.is_published() || ledger.identity()?.log != instance.identity().log)
}

/// Removes a session's queues and then its ledger: as long as the ledger is there, whoever comes knows that there may be
/// queues. Under the log's lock, as workers make them.
pub fn remove(instance: &Instance, ledger: &Ledger) -> Result<(), Error> {
    let object = format_args!("ledger of {}", instance.path().display());
    queue::remove_all(instance, Some(ledger), |_| true)?;
    removed(shared_memory::remove(ledger.segment_id()), Error::ipc(object, "shmctl"))?;
    // Who waits for the end of this session has it still attached.
    ledger.space().ring();
    ledger.logged().ring();
    ledger.doorbell().ring();
    Ok(())
}
