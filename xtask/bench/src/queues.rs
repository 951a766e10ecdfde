//! Message queues of the baselines: without a key, and removed when dropped.

use std::thread;

use common::fence::message_queue::{Message, MessageQueue};
use nix::errno::Errno;

use super::failure::Failure;

/// `IPC_PRIVATE`: nobody else can find it; its id is handed to the processes that use it.
const PRIVATE: i32 = 0;

/// So many queues.
pub(super) struct Queues(Vec<MessageQueue>);

impl Queues {
    pub(super) fn create(count: u32) -> Result<Self, Failure> {
        let mut queues = Self(Vec::new());
        for _ in 0..count {
            queues.0.push(MessageQueue::create(PRIVATE, 0o600).map_err(Failure::system("msgget"))?);
        }
        Ok(queues)
    }

    /// Their ids, to be handed to other processes.
    pub(super) fn ids(&self) -> Vec<String> {
        self.0.iter().map(|queue| queue.0.to_string()).collect()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        for queue in &self.0 {
            // Whoever still waits in it ends now, with EIDRM.
            let _ = queue.remove();
        }
    }
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
