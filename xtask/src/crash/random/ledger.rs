//! A look into a sandbox's ledger from outside, without the log's lock and without changing it.

use std::fmt::Write as _;

use common::fence::shared_memory::Segment;
use common::layout::MAGIC;
use common::ledger::Ledger;
use common::rotation::Workers;
use tests::{IpcObject, Sandbox};

/// Attaches the ledger, if there is one that was laid out.
pub(in crate::crash) fn find(sandbox: &Sandbox) -> Option<Ledger> {
    sandbox.ipc_objects().into_iter().find_map(|object| match object {
        IpcObject::Segment { id, .. } => {
            Segment::attach(id).ok().map(Ledger::new).filter(|ledger| ledger.magic() == MAGIC)
        }
        IpcObject::Queue { .. } => None,
    })
}

/// Whether a transaction is committed and not finished: by somebody alive, or dead.
pub(in crate::crash) fn is_pending(ledger: &Ledger) -> bool {
    !matches!(ledger.pending(), Ok(None))
}

/// Whether a submission was accepted in it.
pub(in crate::crash) fn is_begun(ledger: &Ledger) -> bool {
    is_pending(ledger) || ledger.cursors().is_ok_and(|at| at.submissions > 0)
}

/// Everything that it says, for people.
pub(in crate::crash) fn dump(sandbox: &Sandbox) -> String {
    let Some(ledger) = find(sandbox) else { return "no ledger\n".to_owned() };
    let mut text = String::new();
    let cursors = ledger.cursors();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "session {:#x}", ledger.session());
    let _ = writeln!(text, "cursors {cursors:#?}");
    let _ = writeln!(text, "pending {:#?}", ledger.pending());
    let _ = writeln!(text, "received {}", ledger.received());
    let _ = writeln!(
        text,
        "watched {}, bells: doorbell {:?}, space {:?}, stage {:?}",
        ledger.is_watched(),
        ledger.doorbell(),
        ledger.space(),
        ledger.stage()
    );
    let workers = cursors.ok().and_then(|at| at.workers());
    for worker in workers.into_iter().flat_map(Workers::ids) {
        let _ = writeln!(
            text,
            "worker {worker}: executed {}, generations {:?}, queue {}, finished {}",
            ledger.executed(worker),
            ledger.generations(worker),
            ledger.queue(worker),
            ledger.is_finished(worker)
        );
    }
    text
}
