//! The ledgers of all of this user's directories: a directory that was deleted can be named no more, but what it
//! left can be removed.

use std::collections::HashMap;
use std::path::Path;

use common::fence::message_queue::MessageQueue;
use common::fence::shared_memory;
use common::grammar::rotation::WorkerId;
use common::instance::directory::{self, Directory, KeyOf, is_private};
use common::ledger::Ledger;
use common::ledger::layout::Layout;
use serde_json::{Value, json};

pub(super) fn dump() -> Value {
    let ledgers: Vec<Value> = segments().filter_map(describe).collect();
    json!({ "version": super::FORMAT_VERSION, "ledgers": ledgers })
}

/// The ids of all segments (`sysvipc(7)`).
fn segments() -> impl Iterator<Item = i32> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let ids: Vec<i32> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .collect();
    ids.into_iter()
}

/// Nothing if it is none of this user's ledgers.
fn describe(id: i32) -> Option<Value> {
    let stat = shared_memory::stat(id).ok()?;
    if stat.size != size_of::<Layout>() || stat.removed || !is_private(&stat.permissions) {
        return None;
    }
    let ledger = Ledger::attach(id).ok()?;
    let identity = ledger.identity().ok()?;
    let path = ledger.path_end();
    let queues = queues(identity.directory);
    let remove =
        queues.iter().fold(format!("ipcrm -m {id}"), |remove, q| format!("{remove} -q {q}"));
    Some(json!({
        "segment": id,
        "path": path,
        "directory": state(&path, identity.directory),
        "queues": queues,
        "remove": remove,
    }))
}

/// What has become of the directory, as far as the end of its path shows.
fn state(path: &str, id: [u64; 3]) -> &'static str {
    match Directory::open(Path::new(path)) {
        _ if !path.starts_with('/') => "unknown: only the end of its path is kept",
        Ok(directory) if directory.id() == id => "there",
        _ => "deleted or renamed",
    }
}

/// The ids of the queues under a directory's keys.
fn queues(directory: [u64; 3]) -> Vec<i32> {
    let all = MessageQueue::all().unwrap_or_default();
    let private = all.iter().filter(|(_, owner)| is_private(owner));
    let by_key: HashMap<i32, i32> = private.map(|(queue, owner)| (owner.key, queue.0)).collect();
    let keys = WorkerId::all().flat_map(|worker| directory::keys(directory, KeyOf::Queue(worker)));
    keys.filter_map(|key| by_key.get(&key).copied()).collect()
}
