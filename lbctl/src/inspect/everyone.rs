//! The ledgers of all of this user's directories: a directory that was deleted can be named no more, but what it
//! left can be removed.

use std::path::Path;

use common::fence::shared_memory;
use common::instance::directory::{Directory, is_private};
use common::ledger::Ledger;
use common::ledger::layout::Layout;
use common::queue;
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
    let cell = |worker| Some(ledger.cell(worker));
    let queues = queue::all(identity.directory, cell, |_| true).unwrap_or_default();
    let queues: Vec<i32> = queues.into_iter().map(|(_, queue)| queue.0).collect();
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
