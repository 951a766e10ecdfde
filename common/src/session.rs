//! A session's IPC objects: found, made, rebuilt from the log, and removed. The ledger is made and removed
//! only under the log's lock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use crate::cursors::Cursors;
use crate::error::Error;
use crate::fence::message_queue::MessageQueue;
use crate::fence::shared_memory::{self, Segment};
use crate::history::{self, History};
use crate::instance::{Directory, Instance, KEY_TRIES, KeyOf, is_private};
use crate::layout::{Layout, MAGIC, RING_LEN};
use crate::ledger::{Identity, Ledger};
use crate::lock::LogLock;
use crate::role::Role;
use crate::rotation::{WorkerId, Workers};

/// How long a process that ends waits for the log's lock, to remove a ledger that nobody used.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// What there was when a process came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No session: the ledger is new and empty.
    Nothing,
    /// A ledger.
    Ledger,
    /// No ledger, but an unfinished session in the log, from which it was rebuilt.
    Log,
    /// A ledger whose session had ended, left by a killed process and removed now; the ledger is
    /// new and empty.
    Remains,
}

/// Attaches the instance's ledger; makes it if there is none. Under the log's lock.
pub fn attach(instance: &Instance) -> Result<(Ledger, Found), Error> {
    let identity = instance.identity();
    let log_len = instance.checked_log_len()?;
    let mut found = Found::Nothing;
    if let Some(ledger) = find(instance.directory()) {
        if ledger.magic() != MAGIC {
            // Its maker died before it was ready, or never ran: nobody uses it.
            return begin(instance, ledger, &identity, log_len);
        }
        let at = ledger.cursors()?;
        if at.is_ended() {
            found = Found::Remains;
        } else if ledger.log() == identity.log {
            return Ok((ledger, Found::Ledger));
        } else if committed(&ledger)?.submissions > 0 {
            return Err(Error::LogReplaced);
        } // Else nothing is lost with it: the log was renamed or removed between two sessions.
        remove(instance, &ledger, &at)?;
    }
    let (ledger, begun) = begin(instance, create(instance)?, &identity, log_len)?;
    Ok((ledger, if begun == Found::Log { begun } else { found }))
}

/// The directory's ledger, if there is one. Changes nothing, and may be asked without the log's lock.
///
/// Looks at *all* keys before giving up: a stranger on the first one may have come, or gone, since
/// ours was made.
#[must_use]
pub fn find(directory: &Directory) -> Option<Ledger> {
    let mut unfinished = None;
    for key in directory.keys(KeyOf::Segment) {
        let Ok(id) = shared_memory::find(key) else { continue };
        let Ok(stat) = shared_memory::stat(id) else { continue };
        let fits = stat.size == size_of::<Layout>() && !stat.removed;
        if !fits || !is_private(&stat.permissions) || stat.permissions.key != key {
            continue;
        }
        let Ok(segment) = Segment::attach(id) else { continue };
        let ledger = Ledger::new(segment);
        match ledger.magic() {
            MAGIC if ledger.directory() == directory.id() => return Some(ledger),
            0 => {
                unfinished.get_or_insert(ledger);
            }
            _ => {}
        }
    }
    unfinished
}

fn create(instance: &Instance) -> Result<Ledger, Error> {
    let object = || format!("ledger of {}", instance.path().display());
    for key in instance.keys(KeyOf::Segment) {
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

/// Lays out a ledger: of a new session, or of the one that the log holds unfinished.
fn begin(
    instance: &Instance,
    ledger: Ledger,
    identity: &Identity,
    log_len: u64,
) -> Result<(Ledger, Found), Error> {
    // A nonce, not a secret: the standard library's hasher keys are random.
    let session = RandomState::new().build_hasher().finish();
    let rebuilt = rebuild(instance, &ledger, session, identity, log_len);
    if rebuilt.is_err() {
        // An empty ledger beside a log that cannot be continued must not stay.
        let _ = shared_memory::remove(ledger.segment_id());
    }
    Ok((ledger, rebuilt?))
}

fn rebuild(
    instance: &Instance,
    ledger: &Ledger,
    session: u64,
    identity: &Identity,
    log_len: u64,
) -> Result<Found, Error> {
    let History { replay, whole_len } = history::read(instance.log(), log_len)?;
    // A half line at the end: the whole one is rendered again; and a submission of which not both
    // lines stand was never confirmed to anyone.
    if whole_len < log_len {
        instance.log().set_len(whole_len).map_err(Error::Log)?;
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
    for submission in progress.waiting {
        if cursors.tail + Ledger::record_len(submission) > RING_LEN {
            let why = "it has more unfinished submissions than a ledger holds".to_owned();
            return Err(Error::LogUnreadable { why });
        }
        ledger.write_submission(cursors.tail, submission);
        cursors.tail += Ledger::record_len(submission);
    }
    if replay.is_begun() {
        // Those of the lost ledger, which may have known of more workers than the log does.
        remove_queues(instance, WorkerId::all())?;
    }
    ledger.lay_out(session, identity, &cursors);
    ledger.set_received(progress.received());
    for worker in WorkerId::all() {
        ledger.set_executed(worker, progress.executed_by(worker));
    }
    ledger.publish();
    Ok(if replay.is_begun() { Found::Log } else { Found::Nothing })
}

/// Gives a worker's life an empty queue; whatever was on the way in an earlier one is gone with it.
pub fn fresh_queue(instance: &Instance, worker: WorkerId) -> Result<MessageQueue, Error> {
    remove_queues(instance, [worker])?;
    let object = || format!("message queue of worker {worker}");
    for key in instance.keys(KeyOf::Queue(worker)) {
        match MessageQueue::create(key) {
            Ok(queue) => return Ok(queue),
            Err(Errno::EEXIST) => {}
            Err(source) => return Err(Error::Ipc { object: object(), call: "msgget", source }),
        }
    }
    Err(Error::KeysTaken { object: "message queue", tries: KEY_TRIES })
}

/// Whether an id that the ledger tells is that of a queue of this worker.
#[must_use]
pub fn is_queue_of(instance: &Instance, worker: WorkerId, queue: MessageQueue) -> bool {
    queue.stat().is_ok_and(|stat| {
        let key = stat.permissions.key;
        is_private(&stat.permissions) && instance.keys(KeyOf::Queue(worker)).any(|k| k == key)
    })
}

/// Removes every queue under these workers' keys that can be ours. A stranger's is left alone.
pub fn remove_queues(
    instance: &Instance,
    workers: impl IntoIterator<Item = WorkerId>,
) -> Result<(), Error> {
    for worker in workers {
        for key in instance.keys(KeyOf::Queue(worker)) {
            let Ok(queue) = MessageQueue::find(key) else { continue };
            let Ok(stat) = queue.stat() else { continue };
            if !is_private(&stat.permissions) || stat.permissions.key != key {
                continue;
            }
            match queue.remove() {
                // Or somebody else was quicker.
                Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => {}
                Err(source) => {
                    let object = format!("message queue of worker {worker}");
                    return Err(Error::Ipc { object, call: "msgctl", source });
                }
            }
        }
    }
    Ok(())
}

/// Removes a session's queues and then its ledger: as long as the ledger stands, whoever comes
/// knows that there may be queues.
pub fn remove(instance: &Instance, ledger: &Ledger, at: &Cursors) -> Result<(), Error> {
    remove_queues(instance, at.workers().into_iter().flat_map(Workers::ids))?;
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
    ledger.stage().ring();
    Ok(())
}

/// Gives a role back at the end of a process. Of a session that has no submission nothing stays behind
/// once nobody is there to begin it. Returns false if somebody is.
///
/// Every process ends with this, so of several that end at once the last one finds itself alone.
pub fn leave(instance: &Instance, role: Role) -> Result<bool, Error> {
    instance.release(role)?;
    if !instance.is_alone()? {
        return Ok(false);
    }
    // A session that had a submission stays one, so most need not wait for the lock.
    let worth_it = |ledger: Ledger| {
        ledger.magic() != MAGIC || ledger.cursors().is_ok_and(|at| at.submissions == 0)
    };
    if !find(instance.directory()).is_some_and(worth_it) {
        return Ok(true);
    }
    // Not for ever: a foreign program may have it. The next start finds what is left.
    let Some(_lock) = LogLock::wait_at_most(instance.log(), LEAVE_PATIENCE)? else {
        return Ok(true);
    };
    if !instance.is_alone()? {
        return Ok(false);
    }
    if let Some(ledger) = find(instance.directory()) {
        let log_len = instance.checked_log_len();
        if ledger.magic() != MAGIC {
            if log_len.is_ok() {
                remove_segment(instance, &ledger)?; // its maker, who had this lock, is dead
            }
        } else if is_of_log(instance, &ledger) {
            let at = committed(&ledger)?;
            // A log that is gone is none of a session's that has nothing in it.
            let agrees = match log_len {
                Ok(len) => len == at.log_len,
                Err(error) => matches!(error, Error::LogReplaced),
            };
            if at.submissions == 0 && agrees {
                remove(instance, &ledger, &at)?;
            }
        }
    }
    Ok(true)
}

/// Whether a ledger is laid out, and for this log.
fn is_of_log(instance: &Instance, ledger: &Ledger) -> bool {
    ledger.magic() == MAGIC && ledger.log() == instance.identity().log
}

/// The state once what is pending has been redone. Under the log's lock.
fn committed(ledger: &Ledger) -> Result<Cursors, Error> {
    match ledger.pending()? {
        Some((_, to)) => Ok(to),
        None => ledger.cursors(),
    }
}

/// Sets an unfinished session aside: its log is renamed, its IPC objects are removed. Returns the
/// log's new name, or nothing when there was no session.
pub fn set_aside(path: &Path) -> Result<Option<PathBuf>, Error> {
    let instance = Instance::open(path)?;
    instance.hold(Role::Balancer)?;
    let _lock = LogLock::wait(instance.log(), || ())?;
    let log_len = instance.checked_log_len()?;
    let mut complete = matches!(
        history::read(instance.log(), log_len),
        Ok(History { replay, whole_len }) if !replay.is_begun() && whole_len == log_len
    );
    let ledger = find(instance.directory());
    if let Some(ledger) = &ledger
        && complete
        && is_of_log(&instance, ledger)
    {
        let at = committed(ledger);
        let agrees = at.as_ref().is_ok_and(|at| at.log_len == log_len);
        let is_unused = at.as_ref().is_ok_and(|at| at.submissions == 0);
        if agrees && is_unused {
            return Ok(None); // others may wait in it
        }
        // Totals of the first workers look like those of a session that had no more of them.
        complete = is_unused || agrees && at?.is_ended();
    }
    remove_queues(&instance, WorkerId::all())?;
    if let Some(ledger) = &ledger {
        remove_segment(&instance, ledger)?;
    }
    if complete { Ok(None) } else { instance.set_log_aside().map(Some) }
}
