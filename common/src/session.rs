//! A session's IPC objects: found, made, rebuilt from the log, and removed. The ledger is made and removed
//! only under the log's lock.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;

use crate::cursors::Cursors;
use crate::error::Error;
use crate::fence::message_queue::MessageQueue;
use crate::fence::shared_memory::{self, Segment};
use crate::history::{self, History};
use crate::instance::{Directory, Instance, KEY_TRIES, KeyOf, LOG_NAME, is_private};
use crate::layout::{Layout, MAGIC};
use crate::ledger::Ledger;
use crate::lock::LogLock;
use crate::log_file;
use crate::role::Role;
use crate::rotation::{WorkerId, Workers};

/// How often a key is looked at again whose object went away in between.
const LOOKS: u32 = 100;

/// What there was of a session when a process came.
#[derive(Debug)]
pub enum Found {
    /// None.
    Nothing,
    /// An ended one: its objects, which a killed process left, are removed now; or of its last line only half
    /// stood in a log that may only grow, and the other half does now.
    Remains,
    /// A ledger.
    Ledger(Ledger),
    /// No ledger, but an unfinished session in the log, from which this one was rebuilt.
    Rebuilt(Ledger),
}

/// The directory's unfinished session. Under the log's lock.
pub fn attach(instance: &Instance) -> Result<Found, Error> {
    let log_len = instance.checked_log_len()?;
    let mut found = Found::Nothing;
    if let Some(ledger) = find(instance.directory())? {
        let has_submission = ledger.is_published() && ledger.committed()?.submissions > 0;
        // Once its last transaction is in the log, too.
        if has_submission && ledger.cursors()?.is_ended() {
            found = Found::Remains;
        } else if has_submission && ledger.header()?.identity.log != instance.identity().log {
            return Err(Error::LogReplaced);
        } else if has_submission {
            return Ok(Found::Ledger(ledger));
        } // Else its maker, who had this lock, is dead.
        remove(instance, &ledger)?;
    }
    match rebuild(instance, log_len)? {
        Found::Nothing => Ok(found),
        rebuilt => Ok(rebuilt),
    }
}

/// Makes the ledger of a new session, for its first submission. Under the log's lock, where
/// [`attach`] has found nothing.
pub(crate) fn create(instance: &Instance) -> Result<Ledger, Error> {
    let cursors = Cursors { log_len: instance.checked_log_len()?, ..Cursors::default() };
    let ledger = create_segment(instance)?;
    lay_out(instance, &ledger, &cursors);
    Ok(ledger)
}

/// The directory's ledger, if there is one. Changes nothing, and may be asked without the log's lock.
///
/// Looks at *all* keys before giving up: a stranger on the first one may have come, or gone, since
/// ours was made. What cannot be looked at is an error, since a second ledger must not be made beside it.
pub fn find(directory: &Directory) -> Result<Option<Ledger>, Error> {
    let mut unpublished = None;
    for key in directory.keys(KeyOf::Segment) {
        match look(directory, key)? {
            Some(ledger) if ledger.is_published() => return Ok(Some(ledger)),
            Some(ledger) => drop(unpublished.get_or_insert(ledger)),
            None => {}
        }
    }
    Ok(unpublished)
}

/// The ledger under a key, if what is there is one of this directory.
fn look(directory: &Directory, key: i32) -> Result<Option<Ledger>, Error> {
    let failed = |call, source| {
        let object = format!("the segment with key {key:#x} of {}", directory.path().display());
        Err(Error::Ipc { object, call, source })
    };
    for _ in 0..LOOKS {
        let id = match shared_memory::find(key) {
            Ok(id) => id,
            Err(Errno::ENOENT) => return Ok(None),
            Err(source) => return failed("shmget", source),
        };
        let stat = match shared_memory::stat(id) {
            Ok(stat) => stat,
            Err(Errno::EINVAL | Errno::EIDRM) => continue, // it is gone
            Err(Errno::EACCES) if is_strangers("shm", id) => return Ok(None),
            Err(source) => return failed("shmctl", source),
        };
        let me = nix::unistd::geteuid().as_raw();
        let permissions = &stat.permissions;
        if permissions.key != key {
            continue; // removed, or its id is another one's by now
        }
        if permissions.owner != me || permissions.creator != me || stat.size != size_of::<Layout>()
        {
            return Ok(None);
        }
        let ledger = match Segment::attach(id) {
            Ok(segment) => Ledger::new(segment),
            Err(Errno::EINVAL | Errno::EIDRM) => continue,
            Err(source) => return failed("shmat", source),
        };
        return match ledger.magic() {
            0 => Ok(Some(ledger).filter(|_| is_private(permissions))),
            MAGIC if ledger.header()?.identity.directory != directory.id() => Ok(None),
            MAGIC if is_private(permissions) => Ok(Some(ledger)),
            MAGIC => Err(ledger.damaged("others may write to it")),
            _ => Err(ledger.damaged("it is of another version, or its first bytes were changed")),
        };
    }
    failed("shmctl", Errno::EIDRM)
}

/// Whether an IPC object that cannot be looked at belongs to somebody else (`sysvipc(7)`): one of our own
/// that is kept from us must not pass for that.
fn is_strangers(table: &str, id: i32) -> bool {
    let table = std::fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap_or_default();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let titles = lines.next().unwrap_or_default();
    let column = |title| titles.iter().position(|&t| t == title).unwrap_or(usize::MAX);
    let (uid, id_column) = (column("uid"), 1);
    let me = nix::unistd::geteuid().to_string();
    lines
        .find(|row| row.get(id_column).is_some_and(|text| *text == id.to_string()))
        .is_some_and(|row| row.get(uid).is_some_and(|owner| *owner != me))
}

fn create_segment(instance: &Instance) -> Result<Ledger, Error> {
    let object = || format!("ledger of {}", instance.path().display());
    for key in instance.directory().keys(KeyOf::Segment) {
        match shared_memory::create(key, size_of::<Layout>()) {
            Ok(id) => {
                let attached = Segment::attach(id);
                return attached.map(Ledger::new).map_err(|source| {
                    let _ = shared_memory::remove(id); // nobody else knows of it
                    Error::Ipc { object: object(), call: "shmat", source }
                });
            }
            Err(Errno::EEXIST) => {}
            Err(source) => return Err(Error::Ipc { object: object(), call: "shmget", source }),
        }
    }
    Err(Error::KeysTaken { object: "shared memory segment", tries: KEY_TRIES })
}

fn lay_out(instance: &Instance, ledger: &Ledger, cursors: &Cursors) {
    // A nonce, not a secret: the standard library's hasher keys are random.
    let session = RandomState::new().build_hasher().finish();
    let path = std::path::absolute(instance.path()).unwrap_or_default();
    ledger.lay_out(session, &instance.identity(), path.as_os_str().as_bytes(), cursors);
}

/// Makes the ledger of the session that the log holds unfinished, if it does.
fn rebuild(instance: &Instance, log_len: u64) -> Result<Found, Error> {
    let mut history = history::read(instance.log(), log_len)?;
    if history.whole_len < log_len {
        history = mend(instance, history, log_len)?;
    }
    let History { replay, whole_len, .. } = history;
    if !replay.is_begun() {
        return Ok(if whole_len > log_len { Found::Remains } else { Found::Nothing });
    }
    let progress = replay.progress();
    let mut cursors = Cursors {
        log_len: whole_len,
        submissions: progress.submissions,
        messages: progress.messages,
        base: progress.base,
        line: progress.line,
        totals: progress.totals.into(),
        workers: progress.workers.map_or(0, |workers| workers.get().into()),
        closing: u64::from(progress.totals > 0),
        ..Cursors::default()
    };
    // Those of the lost ledger, which may have known of more workers than the log does.
    remove_queues(instance.directory(), |_| true)?;
    let ledger = create_segment(instance)?;
    for submission in progress.waiting() {
        ledger.write_submission(cursors.tail, &submission);
        cursors.tail += Ledger::record_len(&submission);
    }
    lay_out(instance, &ledger, &cursors);
    ledger.set_received(progress.received());
    for worker in WorkerId::all() {
        ledger.cell(worker).set_executed(progress.executed_by(worker));
    }
    ledger.publish();
    Ok(Found::Rebuilt(ledger))
}

/// Cuts off what a write that was cut short left: half a line, which is rendered again; or one line of a
/// submission, which was never confirmed to anyone. A file that may only grow gets the other half instead.
fn mend(instance: &Instance, history: History, log_len: u64) -> Result<History, Error> {
    let mut log = instance.log();
    match log.set_len(history.whole_len) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let Some(rest) = history.completion else {
                let path = instance.path().join(LOG_NAME);
                let why = format!(
                    "it ends inside a submission or a line, which cannot be cut off since it may only grow: allow \
                     that (`chattr -a {}`) and start again",
                    path.display()
                );
                return Err(Error::LogRefused { path, why });
            };
            log.write_all(&rest).map_err(|source| Error::LogWrite { source })?;
            history::read(log, log_len + rest.len() as u64)
        }
        cut => cut.map(|()| history).map_err(Error::Log),
    }
}

/// Makes a worker's queue anew: whatever was on the way in an earlier one is gone with it.
pub fn fresh_queue(instance: &Instance, worker: WorkerId) -> Result<MessageQueue, Error> {
    remove_queues_of(instance, worker)?;
    for key in instance.directory().keys(KeyOf::Queue(worker)) {
        match MessageQueue::create(key) {
            Ok(queue) => return Ok(queue),
            Err(Errno::EEXIST) => {}
            Err(source) => {
                let object = format!("message queue of worker {worker}");
                return Err(Error::Ipc { object, call: "msgget", source });
            }
        }
    }
    Err(Error::KeysTaken { object: "message queue", tries: KEY_TRIES })
}

/// Removes a worker's queues. If it waits in one, it makes another.
pub fn remove_queues_of(instance: &Instance, worker: WorkerId) -> Result<(), Error> {
    instance
        .directory()
        .keys(KeyOf::Queue(worker))
        .filter_map(|key| MessageQueue::find(key).ok())
        .filter(|&queue| is_queue_of(instance, worker, queue))
        .try_for_each(|queue| remove_queue(worker, queue))
}

/// Whether an id is that of a queue of this worker.
#[must_use]
pub fn is_queue_of(instance: &Instance, worker: WorkerId, queue: MessageQueue) -> bool {
    queue.stat().is_ok_and(|stat| {
        let key = stat.permissions.key;
        let mut keys = instance.directory().keys(KeyOf::Queue(worker));
        is_private(&stat.permissions) && keys.any(|k| k == key)
    })
}

/// Removes a worker's queue, if it is still there.
pub fn remove_queue(worker: WorkerId, queue: MessageQueue) -> Result<(), Error> {
    match queue.remove() {
        // Or somebody else was quicker.
        Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => Ok(()),
        Err(source) => {
            let object = format!("message queue of worker {worker}");
            Err(Error::Ipc { object, call: "msgctl", source })
        }
    }
}

/// Every queue under a key of this directory that can be ours.
fn queues(directory: &Directory) -> Result<Vec<(WorkerId, MessageQueue)>, Error> {
    let all = MessageQueue::all().map_err(|source| {
        let object = format!("message queues of {}", directory.path().display());
        Error::Ipc { object, call: "msgctl", source }
    })?;
    let private: HashSet<i32> =
        all.iter().filter(|(_, owner)| is_private(owner)).map(|(_, owner)| owner.key).collect();
    if private.is_empty() {
        return Ok(Vec::new()); // and thousands of keys need not be made
    }
    let keys: HashMap<i32, WorkerId> = WorkerId::all()
        .flat_map(|worker| directory.keys(KeyOf::Queue(worker)).map(move |key| (key, worker)))
        .filter(|(key, _)| private.contains(key))
        .collect();
    let ours = |(queue, owner): &(MessageQueue, crate::fence::Permissions)| {
        keys.get(&owner.key).filter(|_| is_private(owner)).map(|&worker| (worker, *queue))
    };
    Ok(all.iter().filter_map(ours).collect())
}

/// Removes the queues of these workers. A stranger's is left alone.
pub fn remove_queues(directory: &Directory, of: impl Fn(WorkerId) -> bool) -> Result<(), Error> {
    let queues = queues(directory)?.into_iter().filter(|(worker, _)| of(*worker));
    queues.into_iter().try_for_each(|(worker, queue)| remove_queue(worker, queue))
}

/// Removes the queues of workers beyond N, whom this session does not need: who waits in one notices.
pub fn remove_queues_beyond(directory: &Directory, workers: Workers) -> Result<(), Error> {
    remove_queues(directory, |worker| worker.get() > workers.get())
}

/// Removes a session's queues and then its ledger: as long as the ledger stands, whoever comes
/// knows that there may be queues. A worker that makes one now sees that the session has ended.
pub fn remove(instance: &Instance, ledger: &Ledger) -> Result<(), Error> {
    remove_queues(instance.directory(), |_| true)?;
    remove_segment(instance, ledger)
}

fn remove_segment(instance: &Instance, ledger: &Ledger) -> Result<(), Error> {
    match shared_memory::remove(ledger.segment_id()) {
        // Or somebody else was quicker.
        Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => {}
        Err(source) => {
            let object = format!("ledger of {}", instance.path().display());
            return Err(Error::Ipc { object, call: "shmctl", source });
        }
    }
    // Who waits for the end of this session has it still attached.
    ledger.space().ring();
    ledger.doorbell().ring();
    Ok(())
}

/// Sets an unfinished session aside: its log is renamed, and only then its IPC objects are removed. Returns
/// the log's new name, or nothing when there was no session.
pub fn set_aside(instance: &Instance, workers: Workers) -> Result<Option<PathBuf>, Error> {
    instance.hold(Role::Balancer(workers))?;
    let _lock = LogLock::wait(instance.log(), || ())?;
    let log_len = instance.checked_log_len()?;
    let complete = match history::read(instance.log(), log_len) {
        Ok(History { replay, whole_len, .. }) => !replay.is_begun() && whole_len == log_len,
        Err(Error::LogUnreadable { .. }) => false,
        Err(error) => return Err(error),
    };
    // Damaged or of another version: it is the session that is to be set aside.
    let ledger = match find(instance.directory()) {
        Err(Error::Damaged { segment, .. }) => Segment::attach(segment).ok().map(Ledger::new),
        found => found?,
    };
    // Totals of the first workers look like those of a session that had no more of them.
    let unfinished = ledger.as_ref().is_some_and(|ledger| {
        let is_of_log = ledger.header().is_ok_and(|h| h.identity.log == instance.identity().log);
        let ended = ledger.cursors().is_ok_and(|at| at.is_ended());
        is_of_log && !ended && !ledger.committed().is_ok_and(|at| at.submissions == 0)
    });
    let name = if complete && !unfinished { None } else { Some(instance.set_log_aside()?) };
    if let Some(ledger) = &ledger {
        remove(instance, ledger)?;
        // This session has not ended, so its workers may have made others meanwhile.
        remove_queues(instance.directory(), |_| true)?;
    }
    log_file::remove_unfinished_copy(instance.directory())?;
    Ok(name)
}
