//! Which System V IPC objects a directory's instance has, from `/proc/sysvipc` (`sysvipc(7)`).

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::fence::message_queue::MessageQueue;
use common::fence::shared_memory;
use common::grammar::rotation::WorkerId;
use common::instance::directory::{Directory, KeyOf};

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
    /// Those under the keys that a directory's instance may use, others' included. What is older than the
    /// directory, as what a killed test left, cannot be its own. An error if the tables cannot be read.
    pub fn of(directory: &Path) -> io::Result<Vec<Self>> {
        let born = std::fs::metadata(directory).and_then(|metadata| metadata.created());
        let Ok(directory) = Directory::open(directory) else { return Ok(Vec::new()) };
        // The tables are short, and the keys are thousands: so each key is looked up in the tables.
        let since = born.unwrap_or(UNIX_EPOCH);
        let (segments, queues) = (listed("shm", since)?, listed("msg", since)?);
        let segment = |key| Some(Self::Segment { id: *segments.get(&key)?, key });
        let queue = |key| Some(Self::Queue { id: *queues.get(&key)?, key });
        let mut objects: Vec<Self> = directory.keys(KeyOf::Segment).filter_map(segment).collect();
        if !queues.is_empty() {
            for worker in WorkerId::all() {
                objects.extend(directory.keys(KeyOf::Queue(worker)).filter_map(queue));
            }
        }
        Ok(objects)
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

/// Key and id of every object of a kind that was made or changed since then, or a second before.
fn listed(kind: &str, since: SystemTime) -> io::Result<HashMap<i32, i32>> {
    // The kernel's clock for IPC objects may be a tick later than the file system's.
    let since =
        since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().saturating_sub(1));
    let path = format!("/proc/sysvipc/{kind}");
    let table = std::fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    let mut lines = table.lines();
    let mut titles = lines.next().unwrap_or_default().split_whitespace();
    let ctime = titles
        .position(|title| title == "ctime")
        .ok_or_else(|| io::Error::other(format!("{path}: there is no column ctime")))?;
    let objects = lines
        .filter_map(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            let changed: u64 = columns.get(ctime)?.parse().ok()?;
            let object = (columns.first()?.parse().ok()?, columns.get(1)?.parse().ok()?);
            (changed >= since).then_some(object)
        })
        .collect();
    Ok(objects)
}
