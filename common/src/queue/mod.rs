//! The message queues of a directory's workers, one each, and what travels through them.

pub mod frame;
pub mod message;

use std::collections::HashMap;

use nix::errno::Errno;

use crate::error::Error;
use crate::fence::message_queue::MessageQueue;
use crate::grammar::rotation::WorkerId;
use crate::instance::Instance;
use crate::instance::directory::{KeyOf, is_private};
use crate::instance::objects::{removed, under_free_key};

/// Makes a worker's queue anew: whatever was on the way in an earlier one is gone with it.
pub fn fresh(instance: &Instance, worker: WorkerId) -> Result<MessageQueue, Error> {
    remove_all(instance, |other| other == worker)?;
    let create = |key| MessageQueue::create(key, 0o600);
    let made = under_free_key(instance.directory(), KeyOf::Queue(worker), "message queue", create)?;
    made.map_err(error(worker, "msgget"))
}

/// An error of a call on a worker's queue.
pub fn error(worker: WorkerId, call: &'static str) -> impl FnOnce(Errno) -> Error {
    Error::ipc(format!("message queue of worker {worker}"), call)
}

/// Whether an id is that of a queue of this worker.
#[must_use]
pub fn is_of(instance: &Instance, worker: WorkerId, queue: MessageQueue) -> bool {
    queue.stat().is_ok_and(|stat| {
        let mut keys = instance.directory().keys(KeyOf::Queue(worker));
        is_private(&stat.permissions) && keys.any(|key| key == stat.permissions.key)
    })
}

/// Removes a worker's queue, if it is still there.
pub fn remove(worker: WorkerId, queue: MessageQueue) -> Result<(), Error> {
    removed(queue.remove(), error(worker, "msgctl"))
}

/// Removes the queues of these workers, under whichever of their keys: who waits in one notices. A stranger's
/// is left alone.
pub fn remove_all(instance: &Instance, of: impl Fn(WorkerId) -> bool) -> Result<(), Error> {
    let object = format_args!("message queues of {}", instance.path().display());
    let all = MessageQueue::all().map_err(Error::ipc(object, "msgctl"))?;
    let private = all.into_iter().filter(|(_, owner)| is_private(owner));
    let by_key: HashMap<_, _> = private.map(|(queue, owner)| (owner.key, queue)).collect();
    if by_key.is_empty() {
        return Ok(()); // and thousands of keys need not be made
    }
    for worker in WorkerId::all().filter(|&worker| of(worker)) {
        let keys = instance.directory().keys(KeyOf::Queue(worker));
        keys.filter_map(|key| by_key.get(&key)).try_for_each(|&queue| remove(worker, queue))?;
    }
    Ok(())
}
