//! Message queues and a segment for the baselines: under keys of a sandbox's directory, so that they are removed with
//! it, also where a signal ends everything. Their ids are handed to the processes that use them.

use std::io;
use std::thread;

use common::fence::message_queue::{Message, MessageQueue};
use common::fence::shared_memory;
use common::grammar::rotation::Workers;
use common::instance::directory::{Directory, KeyOf};
use common::ledger::layout::Layout;
use nix::errno::Errno;
use tests::Sandbox;

use super::failure::Failure;

/// A queue for each worker.
pub(super) fn queues(sandbox: &Sandbox, workers: Workers) -> Result<Vec<String>, Failure> {
    let create = |key| MessageQueue::create(key, 0o600).map(|queue| queue.0);
    workers.ids().map(|worker| under_free_key(sandbox, KeyOf::Queue(worker), create)).collect()
}

/// A segment of the ledger's size.
pub(super) fn segment(sandbox: &Sandbox) -> Result<String, Failure> {
    let create = |key| shared_memory::create(key, size_of::<Layout>(), 0o600);
    under_free_key(sandbox, KeyOf::Segment, create)
}

fn under_free_key(
    sandbox: &Sandbox,
    of: KeyOf,
    create: impl Fn(i32) -> nix::Result<i32>,
) -> Result<String, Failure> {
    let directory = Directory::open(&sandbox.dir()).map_err(io::Error::other);
    let directory = directory.map_err(Failure::system("a temp directory"))?;
    let id = directory.keys(of).map(create).find(|id| *id != Err(Errno::EEXIST));
    let id = id.unwrap_or(Err(Errno::EEXIST)).map_err(Failure::system("an IPC object"))?;
    Ok(id.to_string())
}

/// Sends, as soon as there is room. It yields instead of sleeping in the kernel, which is what makes
/// a full queue slow: to the baselines' advantage.
pub(super) fn send(queue: MessageQueue, message: &Message, len: usize) -> nix::Result<()> {
    loop {
        match queue.try_send(message, len) {
            Err(Errno::EAGAIN) => thread::yield_now(),
            sent => return sent,
        }
    }
}
