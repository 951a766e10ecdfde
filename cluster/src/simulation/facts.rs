//! What a schedule came to.

use std::collections::{BTreeMap, BTreeSet};

/// What is known when all is over.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Texts and counts that a client knows are accepted; and those whose client was killed before it knew.
    pub(super) accepted: BTreeMap<String, u32>,
    pub(super) unknown: BTreeMap<String, u32>,
    /// Messages that were executed, or given up, by session and number; and by a holder since which entry.
    pub(super) executed: BTreeSet<((u64, u64), u64)>,
    pub(super) given_up: BTreeSet<(u64, u64)>,
    /// What must not happen.
    pub(super) wrong: Vec<String>,
    /// Each host's log and letters.
    pub(super) logs: Vec<(Vec<u8>, Vec<u8>)>,
}
