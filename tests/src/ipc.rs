//! Which System V IPC objects a directory's instance has, from `/proc/sysvipc` (`sysvipc(7)`).

use std::collections::HashSet;
use std::path::Path;

use common::fence::message_queue::MessageQueue;
use common::fence::shared_memory;
use common::instance::{Directory, KeyOf};
use common::rotation::{WORKERS_MAX, WorkerId};

/// An object that exists now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpcObject {
    /// A shared memory segment.
    Segment {
        /// Its id.
        id: i32,
        /// Its key.
        key: i32,
    },
    /// A message queue.
    Queue {
        /// Its id.
        id: i32,
        /// Its key.
        key: i32,
    },
}

impl IpcObject {
    /// Those under the keys that a directory's instance may use, others' included.
    #[must_use]
    pub fn of(directory: &Path) -> Vec<Self> {
        let Ok(directory) = Directory::open(directory) else { return Vec::new() };
        let segment_keys: HashSet<i32> = directory.keys(KeyOf::Segment).collect();
        let queue_keys: HashSet<i32> = (1..=WORKERS_MAX)
            .filter_map(|k| WorkerId::new(k).ok())
            .flat_map(|worker| directory.keys(KeyOf::Queue(worker)).collect::<Vec<_>>())
            .collect();
        let segments = listed("shm").into_iter().filter(|(key, _)| segment_keys.contains(key));
        let queues = listed("msg").into_iter().filter(|(key, _)| queue_keys.contains(key));
        segments
            .map(|(key, id)| Self::Segment { id, key })
            .chain(queues.map(|(key, id)| Self::Queue { id, key }))
            .collect()
    }

    /// Removes it, as `ipcrm` does.
    pub fn remove(self) {
        // It may be gone already.
        let _ = match self {
            Self::Segment { id, .. } => shared_memory::remove(id),
            Self::Queue { id, .. } => MessageQueue(id).remove(),
        };
    }
}

/// Key and id of every object of a kind.
fn listed(kind: &str) -> Vec<(i32, i32)> {
    let table = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            Some((columns.next()?.parse().ok()?, columns.next()?.parse().ok()?))
        })
        .collect()
}
