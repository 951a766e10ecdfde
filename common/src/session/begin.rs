//! A ledger exists only with an accepted submission, and can be read back from the log. So a session is found, made for its
//! first submission, or rebuilt; the ledger is made only under the log's lock.

use std::io::Write;

use nix::errno::Errno;

use crate::dead::settled;
use crate::error::Error;
use crate::fence::shared_memory;
use crate::grammar::LOG_NAME;
use crate::grammar::rotation::WorkerId;
use crate::grammar::submission::Submission;
use crate::history::{self, History};
use crate::instance::directory::KeyOf;
use crate::instance::lock::{LogLock, Wait};
use crate::instance::objects::{find_ledger, under_free_key};
use crate::instance::{Instance, log_file, session_number};
use crate::ledger::Ledger;
use crate::ledger::cell::InHand;
use crate::ledger::cursors::{Closing, Cursors};
use crate::ledger::layout::Layout;
use crate::ledger::record::Record;
use crate::ledger::ring::RING_LEN;
use crate::queue;

use super::end::{end, remove};

/// What there was of a session when a process came.
#[derive(Debug)]
pub enum Opened<S> {
    /// None.
    Nothing,
    /// An ended one: its objects, which a killed process left, are removed now; or of its last line only half
    /// stood in a log that may only grow, and the other half does now.
    Remains,
    /// An unfinished one; `true`: its ledger was gone, it was read back from the log.
    Session(S, bool),
}

/// Waits for the log's lock, to look for a session.
pub(crate) fn lock_session(instance: &Instance, durable: bool) -> Result<LogLock<'_>, Error> {
    if durable {
        // The log's name must survive a power loss, too.
        instance.directory().sync()?;
    }
    LogLock::wait(instance.log(), &Wait::Unasked)
}

/// The directory's unfinished session. Under the log's lock. If `durable`, what this renames is on the disk.
pub(crate) fn attach(instance: &Instance, durable: bool) -> Result<Opened<Ledger>, Error> {
    let log_len = instance.checked_log_len()?;
    let mut found = Opened::Nothing;
    if let Some(ledger) = find_ledger(instance.directory())? {
        // Else its maker, who had this lock, is dead.
        if ledger.is_published() && ledger.committed()?.submissions > 0 {
            // Once its last transaction is in the log, too.
            if !ledger.cursors()?.is_ended() {
                let is_of_log = ledger.identity()?.log == instance.identity().log;
                let session = is_of_log.then_some(Opened::Session(ledger, false));
                return session.ok_or(Error::LogReplaced);
            }
            found = Opened::Remains;
            // If it cannot be renamed, that is reported by the load balancer that wants it.
            if end(instance, &ledger, durable)?.is_some_and(|renamed| renamed.is_ok()) {
                return Err(Error::LogReplaced);
            }
        } else {
            remove(instance, &ledger)?;
        }
    }
    match rebuild(instance, log_len)? {
        Opened::Nothing => Ok(found),
        rebuilt => Ok(rebuilt),
    }
}

/// Makes the ledger of a new session, for its first submission. Under the log's lock, where
/// [`attach`] has found nothing.
pub(crate) fn create(instance: &Instance) -> Result<Ledger, Error> {
    let cursors = Cursors { log_len: instance.checked_log_len()?, ..Cursors::default() };
    make(instance, session_number::give(instance.log(), cursors.log_len), cursors, None)
}

/// Makes a ledger with these submissions in its ring. It is not published yet. Nothing was written to the log
/// since the one before was removed: so this is the last moment at which the log shows what came of a dead
/// letter's new submission that was cut short then.
fn make<'w>(
    instance: &Instance,
    session: u64,
    mut cursors: Cursors,
    waiting: impl IntoIterator<Item = Submission<&'w str>>,
) -> Result<Ledger, Error> {
    settled::resolve(instance)?;
    let object = format_args!("ledger of {}", instance.path().display());
    let create = |key| shared_memory::create(key, size_of::<Layout>(), 0o600);
    let made =
        under_free_key(instance.directory(), KeyOf::Segment, "shared memory segment", create)?;
    let id = made.map_err(Error::ipc(object, "shmget"))?;
    let ledger = Ledger::attach(id).inspect_err(|_| {
        let _ = shared_memory::remove(id); // nobody else knows of it
    });
    let ledger = ledger.map_err(Error::ipc(object, "shmat"))?;
    let mut record = Record::default();
    let mut waiting = waiting.into_iter().peekable();
    while waiting.peek().is_some() {
        record.clear();
        while waiting.next_if(|submission| record.push(submission)).is_some() {}
        ledger.write_record(cursors.tail, &mut record);
        cursors.tail += record.ring_len();
        if cursors.tail - cursors.head > RING_LEN {
            shared_memory::remove(id).map_err(Error::ipc(object, "shmctl"))?;
            return Err(history::too_many());
        }
    }
    let path = std::path::absolute(instance.path()).unwrap_or_default();
    ledger.lay_out(session, &instance.identity(), path.as_os_str().as_encoded_bytes(), &cursors);
    Ok(ledger)
}

/// Makes the ledger of the session that the log holds unfinished, if it does.
fn rebuild(instance: &Instance, log_len: u64) -> Result<Opened<Ledger>, Error> {
    let mut history = history::read(instance.log(), log_len)?;
    if history.whole_len < log_len {
        history = mend(instance, history, log_len)?;
    }
    if !history.replay.is_begun() {
        return Ok(if history.whole_len > log_len { Opened::Remains } else { Opened::Nothing });
    }
    let at = history.replay.cursors();
    let closing = if at.totals > 0 { Closing::Ends as u64 } else { 0 };
    let cursors = Cursors { log_len: history.whole_len, closing, ..at };
    // Those of the lost ledger, which may have known of more workers than the log does.
    queue::remove_all(instance, None, |_| true)?;
    let session = session_number::recall(instance.log(), history.begun);
    let ledger = make(instance, session, cursors, history.replay.waiting())?;
    ledger.set_received(history.replay.received());
    for worker in WorkerId::all() {
        let executed = history.replay.executed_by(worker);
        ledger.cell(worker).set_executed(executed);
        // What a dead worker left of it may be alive.
        ledger.cell(worker).set_in_hand(executed, &InHand::default());
    }
    ledger.publish();
    Ok(Opened::Session(ledger, true))
}

/// Cuts off what a write that was cut short left: half a line, which is rendered again; or one line of a
/// submission, which was never confirmed to anyone. A file that may only grow gets the other half instead.
fn mend(instance: &Instance, history: History, log_len: u64) -> Result<History, Error> {
    let mut log = instance.log();
    match log.set_len(history.whole_len) {
        Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {}
        cut => return cut.map(|()| history).map_err(Error::Log),
    }
    let rest = history.completion.ok_or_else(|| {
        let why = format!(
            "it ends inside a submission or a line, which cannot be cut off since it may only grow: allow that \
             (`chattr -a {}`) and start again",
            instance.path().join(LOG_NAME).display()
        );
        log_file::refused(instance.directory(), LOG_NAME, why)
    })?;
    log.write_all(&rest).map_err(Error::LogWrite)?;
    history::read(log, log_len + rest.len() as u64)
}
