//! The message queues of a directory's workers, one each, and what travels through them.
//!
//! A queue is recognised by more than its key, which is a number of 31 bits and may be anybody's: it holds a message that
//! nobody takes out, and whose kind is made from the directory. Before that is in it, or if others took it out, the
//! worker's cell in the ledger names it, even before it is made. So a kill at any place leaves no queue that is not
//! recognised, and none is removed that is somebody else's.

pub mod frame;
pub mod message;

use std::collections::HashMap;

use nix::errno::Errno;

use crate::error::Error;
use crate::fence::message_queue::{Message, MessageQueue, QueueStat};
use crate::grammar::rotation::WorkerId;
use crate::instance::Instance;
use crate::instance::directory::{self, KeyOf, is_private};
use crate::instance::objects::{removed, under_free_key};
use crate::ledger::Ledger;
use crate::ledger::cell::Cell;

/// Bytes of the message that marks a queue: the least that [`MessageQueue::holds`] sees.
pub const MARK_LEN: usize = 1;

/// The kind of that message. All others are for the worker.
#[must_use]
pub fn mark(instance: &Instance) -> i64 {
    directory::mark(instance.directory().id())
}

/// Makes a worker's queue anew: whatever was on the way in an earlier one is gone with it. The worker only.
pub fn fresh(
    instance: &Instance,
    ledger: &Ledger,
    worker: WorkerId,
) -> Result<MessageQueue, Error> {
    remove_all(instance, Some(ledger), |other| other == worker)?;
    let create = |key| match MessageQueue::find(key) {
        Err(Errno::ENOENT) => {
            // From here on, what is there is ours. Were it not free, it would be somebody else's.
            ledger.cell(worker).set_queue_key(key);
            MessageQueue::create(key, 0o600)
        }
        Ok(_) | Err(Errno::EACCES) => Err(Errno::EEXIST),
        Err(error) => Err(error),
    };
    let made = under_free_key(instance.directory(), KeyOf::Queue(worker), "message queue", create)?;
    let queue = made.map_err(error(worker, "msgget"))?;
    let mut message = Message::boxed();
    message.kind = mark(instance);
    match queue.try_send(&message, MARK_LEN) {
        // Removed by others: the first look at it finds that.
        Ok(()) | Err(Errno::EIDRM | Errno::EINVAL) => Ok(queue),
        Err(error) => {
            let _ = queue.remove();
            Err(self::error(worker, "msgsnd")(error))
        }
    }
}

/// An error of a call on a worker's queue.
pub fn error(worker: WorkerId, call: &'static str) -> impl FnOnce(Errno) -> Error {
    Error::ipc(format!("message queue of worker {worker}"), call)
}

/// Whether an id is that of a queue under one of this worker's keys.
#[must_use]
pub fn is_of(instance: &Instance, worker: WorkerId, queue: MessageQueue) -> bool {
    queue.stat().is_ok_and(|stat| {
        let mut keys = instance.directory().keys(KeyOf::Queue(worker));
        is_private(&stat.permissions) && keys.any(|key| key == stat.permissions.key)
    })
}

/// What is in a queue, and fits into it, but for its mark.
pub fn load(queue: MessageQueue, mark: i64) -> nix::Result<QueueStat> {
    let mut stat = queue.stat()?;
    if queue.holds(mark)? {
        stat.messages = stat.messages.saturating_sub(1);
        stat.bytes = stat.bytes.saturating_sub(MARK_LEN as u64);
        stat.bytes_max = stat.bytes_max.saturating_sub(MARK_LEN as u64);
    }
    Ok(stat)
}

/// Removes a worker's queue, if it is still there.
pub fn remove(worker: WorkerId, queue: MessageQueue) -> Result<(), Error> {
    removed(queue.remove(), error(worker, "msgctl"))
}

/// Removes the queues of these workers, under whichever of their keys: who waits in one notices. A stranger's
/// is left alone. Without a ledger: only those that are marked.
pub fn remove_all(
    instance: &Instance,
    ledger: Option<&Ledger>,
    of: impl Fn(WorkerId) -> bool,
) -> Result<(), Error> {
    let object = format_args!("message queues of {}", instance.path().display());
    let all = all(instance.directory().id(), |worker| ledger.map(|it| it.cell(worker)), of);
    for (worker, queue) in all.map_err(Error::ipc(object, "msgctl"))? {
        remove(worker, queue)?;
    }
    Ok(())
}

/// The queues of a directory's workers.
pub fn all<'l>(
    directory: [u64; 3],
    cell: impl Fn(WorkerId) -> Option<&'l Cell>,
    of: impl Fn(WorkerId) -> bool,
) -> nix::Result<Vec<(WorkerId, MessageQueue)>> {
    let private = MessageQueue::all()?.into_iter().filter(|(_, owner)| is_private(owner));
    let by_key: HashMap<_, _> = private.map(|(queue, owner)| (owner.key, queue)).collect();
    let mut found = Vec::new();
    if by_key.is_empty() {
        return Ok(found); // and thousands of keys need not be made
    }
    let mark = directory::mark(directory);
    for worker in WorkerId::all().filter(|&worker| of(worker)) {
        for key in directory::keys(directory, KeyOf::Queue(worker)) {
            let Some(&queue) = by_key.get(&key) else { continue };
            if cell(worker).is_some_and(|cell| cell.names(queue.0, key)) || is_marked(queue, mark)?
            {
                found.push((worker, queue));
            }
        }
    }
    Ok(found)
}

fn is_marked(queue: MessageQueue, mark: i64) -> nix::Result<bool> {
    match queue.holds(mark) {
        Err(Errno::EIDRM | Errno::EINVAL) => Ok(false), // it is gone
        holds => holds,
    }
}
