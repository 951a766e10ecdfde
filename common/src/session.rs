//! A session's IPC objects: found, made, rebuilt from the log, and removed. The ledger is made and removed
//! only under the log's lock.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::cell::InHand;
use crate::cursors::{Closing, Cursors};
use crate::error::Error;
use crate::fence::message_queue::MessageQueue;
use crate::fence::shared_memory;
use crate::history::{self, History};
use crate::instance::{Directory, Instance, KEY_TRIES, KeyOf, LOG_NAME, is_own, is_private};
use crate::journal::Opened;
use crate::layout::{Layout, MAGIC, RING_LEN};
use crate::ledger::Ledger;
use crate::lock::{LogLock, Wait};
use crate::log_file;
use crate::naming;
use crate::record::Record;
use crate::role::Role;
use crate::rotation::{WorkerId, Workers};
use crate::settled;
use crate::submission::Submission;

/// How often a key is looked at again whose object went away in between.
const LOOKS: u32 = 100;

type Attach = fn(i32) -> nix::Result<Ledger>;

/// The directory's unfinished session. Under the log's lock. If `durable`, what this renames is on the disk.
pub(crate) fn attach(instance: &Instance, durable: bool) -> Result<Opened<Ledger>, Error> {
    let log_len = instance.checked_log_len()?;
    let mut found = Opened::Nothing;
    if let Some(ledger) = find(instance.directory())? {
        // Else its maker, who had this lock, is dead.
        if ledger.is_published() && ledger.committed()?.submissions > 0 {
            // Once its last transaction is in the log, too.
            if !ledger.cursors()?.is_ended() {
                let is_of_log = ledger.identity()?.log == instance.identity().log;
                let session = is_of_log.then_some(Opened::Session(ledger, false));
                return session.ok_or(Error::LogReplaced);
            }
            found = Opened::Remains;
            // If it cannot be renamed, that is told by the load balancer that wants it.
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
    make(instance, naming::give(instance, cursors.log_len), cursors, None)
}

/// The directory's ledger, if there is one. Changes nothing, and may be asked without the log's lock.
///
/// Looks at *all* keys before giving up: a stranger on the first one may have come, or gone, since
/// ours was made. What cannot be looked at is an error, since a second ledger must not be made beside it.
pub fn find(directory: &Directory) -> Result<Option<Ledger>, Error> {
    find_by(directory, Ledger::attach)
}

/// The same for whoever only looks: nothing can be written to it.
pub fn find_to_look(directory: &Directory) -> Result<Option<Ledger>, Error> {
    find_by(directory, Ledger::attach_to_look)
}

fn find_by(directory: &Directory, attach: Attach) -> Result<Option<Ledger>, Error> {
    let mut unpublished = None;
    for key in directory.keys(KeyOf::Segment) {
        match look(directory, key, attach)? {
            Some(ledger) if ledger.is_published() => return Ok(Some(ledger)),
            found => unpublished = unpublished.or(found),
        }
    }
    Ok(unpublished)
}

/// The ledger under a key, if what is there is one of this directory.
fn look(directory: &Directory, key: i32, attach: Attach) -> Result<Option<Ledger>, Error> {
    let path = directory.path().display();
    let object = format_args!("the segment with key {key:#x} of {path}");
    for _ in 0..LOOKS {
        let id = match shared_memory::find(key) {
            Err(Errno::ENOENT) => return Ok(None),
            id => id.map_err(Error::ipc(object, "shmget"))?,
        };
        let stat = match shared_memory::stat(id) {
            Err(Errno::EINVAL | Errno::EIDRM) => continue, // it is gone
            Err(Errno::EACCES) if is_strangers(id) => return Ok(None),
            stat => stat.map_err(Error::ipc(object, "shmctl"))?,
        };
        let permissions = &stat.permissions;
        if permissions.key != key {
            continue; // removed, or its id is another one's by now
        }
        if !is_own(permissions) || stat.size != size_of::<Layout>() {
            return Ok(None);
        }
        let ledger = match attach(id) {
            Err(Errno::EINVAL | Errno::EIDRM) => continue,
            ledger => ledger.map_err(Error::ipc(object, "shmat"))?,
        };
        return match ledger.magic() {
            0 => Ok(Some(ledger).filter(|_| is_private(permissions))),
            MAGIC if ledger.identity()?.directory != directory.id() => Ok(None),
            MAGIC if is_private(permissions) => Ok(Some(ledger)),
            MAGIC => Err(ledger.damaged("others may write to it")),
            _ => Err(ledger.damaged("it is of another version, or its first bytes were changed")),
        };
    }
    Err(Error::ipc(object, "shmctl")(Errno::EIDRM))
}

/// Whether a segment that cannot be looked at belongs to somebody else (`sysvipc(7)`): one of our own that is
/// kept from us must not pass for that.
fn is_strangers(id: i32) -> bool {
    let (id, me) = (id.to_string(), nix::unistd::geteuid().to_string());
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table.lines().any(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        // key shmid perms size cpid lpid nattch uid …
        [_, shmid, _, _, _, _, _, uid, ..] => shmid == id && uid != me,
        _ => false,
    })
}

/// Makes a ledger with these submissions in its ring. It is not published yet. Nothing was written to the log
/// since the one before was removed: so this is the last moment at which the log tells what came of a dead
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
    let made = under_free_key(instance, KeyOf::Segment, "shared memory segment", create)?;
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
    remove_queues(instance, |_| true)?;
    let session = naming::recall(instance, history.begun);
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

/// Makes a worker's queue anew: whatever was on the way in an earlier one is gone with it.
pub fn fresh_queue(instance: &Instance, worker: WorkerId) -> Result<MessageQueue, Error> {
    remove_queues(instance, |other| other == worker)?;
    let create = |key| MessageQueue::create(key, 0o600);
    let made = under_free_key(instance, KeyOf::Queue(worker), "message queue", create)?;
    made.map_err(queue_error(worker, "msgget"))
}

/// An error of a call on a worker's queue.
pub fn queue_error(worker: WorkerId, call: &'static str) -> impl FnOnce(Errno) -> Error {
    Error::ipc(format!("message queue of worker {worker}"), call)
}

/// Makes an object under the first of its keys that nobody else has taken. Returns what the call came to.
fn under_free_key<T>(
    instance: &Instance,
    of: KeyOf,
    object: &'static str,
    create: impl Fn(i32) -> nix::Result<T>,
) -> Result<nix::Result<T>, Error> {
    let mut made = instance.directory().keys(of).map(create);
    let made = made.find(|made| !matches!(made, Err(Errno::EEXIST)));
    made.ok_or(Error::KeysTaken { object, tries: KEY_TRIES })
}

/// Whether an id is that of a queue of this worker.
#[must_use]
pub fn is_queue_of(instance: &Instance, worker: WorkerId, queue: MessageQueue) -> bool {
    queue.stat().is_ok_and(|stat| {
        let mut keys = instance.directory().keys(KeyOf::Queue(worker));
        is_private(&stat.permissions) && keys.any(|key| key == stat.permissions.key)
    })
}

/// Removes a worker's queue, if it is still there.
pub fn remove_queue(worker: WorkerId, queue: MessageQueue) -> Result<(), Error> {
    removed(queue.remove(), queue_error(worker, "msgctl"))
}

fn removed(done: nix::Result<()>, error: impl FnOnce(Errno) -> Error) -> Result<(), Error> {
    match done {
        Err(Errno::EINVAL | Errno::EIDRM) => Ok(()), // somebody else was quicker
        done => done.map_err(error),
    }
}

/// Removes the queues of these workers, under whichever of their keys: who waits in one notices. A stranger's
/// is left alone.
pub fn remove_queues(instance: &Instance, of: impl Fn(WorkerId) -> bool) -> Result<(), Error> {
    let object = format_args!("message queues of {}", instance.path().display());
    let all = MessageQueue::all().map_err(Error::ipc(object, "msgctl"))?;
    let private = all.into_iter().filter(|(_, owner)| is_private(owner));
    let by_key: HashMap<_, _> = private.map(|(queue, owner)| (owner.key, queue)).collect();
    if by_key.is_empty() {
        return Ok(()); // and thousands of keys need not be made
    }
    for worker in WorkerId::all().filter(|&worker| of(worker)) {
        let keys = instance.directory().keys(KeyOf::Queue(worker));
        keys.filter_map(|key| by_key.get(&key))
            .try_for_each(|&queue| remove_queue(worker, queue))?;
    }
    Ok(())
}

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
        instance.log().sync_data().map_err(Error::Log)?; // while the ledger could still tell what is missing
    }
    remove(instance, ledger)?;
    Ok(rotates.then(|| rename_log(instance, durable)))
}

/// Renames the log of which every session has ended, if there is anything in it. Returns its new name; nothing: it
/// is empty, or goes on, since a session has begun. By one that has a role: so everybody is known to be here.
pub fn rotate(instance: &Instance, durable: bool) -> Result<Option<PathBuf>, Error> {
    let _lock = LogLock::wait(instance.log(), &Wait::Unasked)?;
    let rests = matches!(attach(instance, durable)?, Opened::Nothing | Opened::Remains);
    let is_empty = instance.checked_log_len()? == 0;
    (rests && !is_empty).then(|| rename_log(instance, durable)).transpose()
}

fn rename_log(instance: &Instance, durable: bool) -> Result<PathBuf, Error> {
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
    let Some(ledger) = find(instance.directory())? else { return Ok(true) };
    Ok(!ledger.is_published() || ledger.identity()?.log != instance.identity().log)
}

/// Removes a session's queues and then its ledger: as long as the ledger stands, whoever comes knows that there may be
/// queues. Under the log's lock, as workers make them.
pub fn remove(instance: &Instance, ledger: &Ledger) -> Result<(), Error> {
    let object = format_args!("ledger of {}", instance.path().display());
    remove_queues(instance, |_| true)?;
    removed(shared_memory::remove(ledger.segment_id()), Error::ipc(object, "shmctl"))?;
    // Who waits for the end of this session has it still attached.
    ledger.space().ring();
    ledger.logged().ring();
    ledger.doorbell().ring();
    Ok(())
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
    let ledger = match find(instance.directory()) {
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
