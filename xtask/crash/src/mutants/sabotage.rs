//! The sabotages.

/// One exact replacement.
#[derive(Debug)]
pub(crate) struct Sabotage {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// In the workspace.
    pub(crate) file: &'static str,
    /// It is there once.
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// The calls in `Transaction::put`.
const COMMIT_AND_WRITE: &str = "self.journal.ledger.commit(&next);
        self.journal.write(0, &self.at, &next)?;";

/// All of them.
pub(crate) const SABOTAGES: &[Sabotage] = &[
    Sabotage {
        name: "finish-before-write",
        about: "the pending mark is cleared, and so the cursor moved, before the bytes are written",
        file: "common/src/log/transaction.rs",
        from: COMMIT_AND_WRITE,
        to: "self.journal.ledger.commit(&next);
        self.journal.ledger.finish();
        self.journal.write(0, &self.at, &next)?;",
    },
    Sabotage {
        name: "commit-after-write",
        about: "the bytes are written before anything is committed",
        file: "common/src/log/transaction.rs",
        from: COMMIT_AND_WRITE,
        to: "let written = self.journal.instance().log().write_all(self.journal.renderer.bytes());
        written.map_err(Error::LogWrite)?;
        self.journal.ledger.commit(&next);
        self.journal.ledger.finish();",
    },
    Sabotage {
        name: "no-redo",
        about: "what a dead holder left pending is not finished",
        file: "common/src/log/transaction.rs",
        from: "if let Some((from, to)) = journal.ledger.pending()? {",
        to: "if let Some((from, to)) = journal.ledger.pending()?.filter(|_| false) {",
    },
    Sabotage {
        name: "redo-writes-all",
        about: "a redo writes the whole line again, not what is missing of it",
        file: "common/src/log/transaction.rs",
        from: "&self.renderer.bytes()[done..]",
        to: "&self.renderer.bytes()[done.min(0)..]",
    },
    Sabotage {
        name: "redo-not-cleared",
        about: "after a redo the next transaction writes its bytes once more (was so)",
        file: "common/src/log/transaction.rs",
        from: "        // now, nor with what did not fit on a full disk.
        journal.renderer.clear();",
        to: "",
    },
    Sabotage {
        name: "redo-wraps-around",
        about: "the redo of Executed lines adds up beyond the largest number (was so)",
        file: "common/src/log/render.rs",
        from: "count.saturating_add(limits.executed.saturating_sub(at.base))",
        to: "count.wrapping_add(limits.executed.saturating_sub(at.base))",
    },
    Sabotage {
        name: "lone-executed-early",
        about: "of a submission of one message, the worker's line is written before it is executed",
        file: "common/src/log/render.rs",
        from: "(at.base, limits.received.min(limits.executed));",
        to: "(at.base, limits.received);",
    },
    Sabotage {
        name: "idle-no-redo",
        about: "a load balancer without work does not finish what a client left pending (was so)",
        file: "common/src/ledger/mod.rs",
        from: "self.layout().steps.is_pending()",
        to: "self.layout().steps.is_pending() && self.received() == u64::MAX",
    },
    Sabotage {
        name: "no-resend",
        about: "what was sent to a dead worker counts as sent to its next life",
        file: "loadbalancer/src/outlet.rs",
        from: "sent: ledger.cell(self.worker).executed(),",
        to: "sent: self.sent.max(ledger.cell(self.worker).executed()),",
    },
    Sabotage {
        name: "no-duplicate-drop",
        about: "a worker executes what is sent a second time a second time",
        file: "worker/src/serve.rs",
        from: "if own == next && next < limit",
        to: "if own <= next && next < limit",
    },
    Sabotage {
        name: "role-not-held",
        about: "roles are asked for, but not taken",
        file: "common/src/instance/role.rs",
        from: "match fcntl(log, FcntlArg::F_OFD_SETLK(&lock(kind, bytes))) {",
        to: "match fcntl(log, FcntlArg::F_OFD_GETLK(&mut lock(kind, bytes))) {",
    },
    Sabotage {
        name: "ledger-before-queues",
        about: "the ledger is removed first, so that nobody knows of queues that are left",
        file: "common/src/session/end.rs",
        from: "    queue::remove_all(instance, Some(ledger), |_| true)?;
    removed(shared_memory::remove(ledger.segment_id()), Error::ipc(object, \"shmctl\"))?;",
        to: "    removed(shared_memory::remove(ledger.segment_id()), Error::ipc(object, \"shmctl\"))?;
    queue::remove_all(instance, Some(ledger), |_| true)?;",
    },
    Sabotage {
        name: "queue-not-named",
        about: "the ledger does not name a queue before it is made and marked",
        file: "common/src/queue/mod.rs",
        from: "ledger.cell(worker).set_queue_key(key);",
        to: "",
    },
    Sabotage {
        name: "queue-not-marked",
        about: "a queue is not marked as ours",
        file: "common/src/queue/mod.rs",
        from: "match queue.try_send(&message, MARK_LEN) {",
        to: "match nix::Result::Ok(()) {",
    },
    Sabotage {
        name: "torn-tail-stays",
        about: "a session is rebuilt after half a line",
        file: "common/src/session/begin.rs",
        from: "if history.whole_len < log_len {",
        to: "if history.whole_len < log_len && log_len == 0 {",
    },
    Sabotage {
        name: "path-not-checked",
        about: "nobody looks whether the log's path still names the open file",
        file: "common/src/instance/mod.rs",
        from: "self.directory.len_of(LOG_NAME, self.log_id)",
        to: "Ok(self.log.metadata().map_or(0, |m| m.len()))",
    },
    Sabotage {
        name: "length-not-checked",
        about: "nobody looks whether the log is as long as what was written to it",
        file: "common/src/log/transaction.rs",
        from: "        check_len(at.log_len, log_len).map_err(|error| continued(journal, error))?;",
        to: "        let _ = check_len(at.log_len, log_len).map_err(|error| continued(journal, error));",
    },
    Sabotage {
        name: "attempt-not-locked",
        about: "COMMAND does not get the lock of its attempt",
        file: "work/src/process.rs",
        from: "rustix::io::fcntl_setfd(&file, FdFlags::empty())",
        to: "rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC)",
    },
    Sabotage {
        name: "attempt-not-looked-for",
        about: "what another life of a worker has left is not looked for in environments",
        file: "work/src/leftover.rs",
        from: "has_lock(*pid, &is_lock) || has_mark(*pid, mark)",
        to: "has_lock(*pid, &is_lock) || has_mark(*pid, mark) && mark.is_empty()",
    },
    Sabotage {
        name: "letter-after-count",
        about: "a dead message counts before its letter is written",
        file: "work/src/once.rs",
        from: "letter::write(message, &hand, ended.to_string(), stderr, progress)?;",
        to: "progress.count(message.own + 1);
                    letter::write(message, &hand, ended.to_string(), stderr, progress)?;",
    },
    Sabotage {
        name: "deaths-not-counted",
        about: "a worker's death in a message is forgotten",
        file: "work/src/hand.rs",
        from: "Count::Death => it.deaths = it.deaths.saturating_add(1),",
        to: "Count::Death => {}",
    },
    Sabotage {
        name: "attempts-not-kept",
        about: "what a worker has in hand is not written to the ledger",
        file: "worker/src/progress.rs",
        from: "self.ledger().cell(self.worker).set_in_hand(own, &hand.0);",
        to: "let _ = (own, hand);",
    },
    Sabotage {
        name: "orphans-not-killed",
        about: "what a dead worker's COMMAND has started is waited for, and not killed",
        file: "loadbalancer/src/crew/mod.rs",
        from: "children::signal_all_but(&spared, Some(Signal::SIGKILL))",
        to: "children::signal_all_but(&spared, None)",
    },
    Sabotage {
        name: "count-before-end",
        about: "a message counts when its COMMAND is started, not when that has ended",
        file: "work/src/lib.rs",
        from: "once.execute(&message, progress)?;",
        to: "progress.count(message.own + 1);
                    once.execute(&message, progress)?;",
    },
    Sabotage {
        name: "rotation-ends-workers",
        about: "a worker by hand ends with the session after which the log is renamed",
        file: "worker/src/serve.rs",
        from: "return Ok(!self.progress.ledger().cursors()?.rotates() || self.wait_for_end()?);",
        to: "return Ok(true);",
    },
    Sabotage {
        name: "renamed-log-not-left",
        about: "a client stays with a log that was renamed",
        file: "client/src/main.rs",
        from: "Err(Error::LogReplaced) if end::is_log_left(&instance)? => {",
        to: "Err(Error::LogReplaced) if end::is_log_left(&instance)? && args.quiet => {",
    },
    Sabotage {
        name: "letters-not-told",
        about: "a load balancer ends with 0 although messages are dead",
        file: "loadbalancer/src/balance.rs",
        from: "Ok(exit::PARTLY)",
        to: "Ok(exit::PARTLY & 0)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a build, which says the same an hour later.
    #[test]
    fn each_applies() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for Sabotage { name, file, from, .. } in SABOTAGES {
            let source = std::fs::read_to_string(root.join(file)).unwrap();
            assert_eq!(source.matches(from).count(), 1, "{name}: {from} in {file}");
        }
    }
}
