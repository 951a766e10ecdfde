//! What the models do as the product does, without including it: here is where it does that, in this order. Who
//! changes one of these looks at the model first.

/// The pieces occur in the function, each after the one before.
#[track_caller]
fn in_order(source: &str, function: &str, pieces: &[&str]) {
    let start = source.find(function).unwrap_or_else(|| panic!("there is no `{function}`"));
    let function = &source[start..];
    let end = function.find("\n    }\n").unwrap_or(function.len());
    let mut rest = &function[..end];
    for piece in pieces {
        let at = rest.find(piece).unwrap_or_else(|| panic!("there is no `{piece}` where it was"));
        rest = &rest[at + piece.len()..];
    }
}

macro_rules! source {
    ($name:literal) => {
        include_str!(concat!("../../../", $name))
    };
}

const BALANCE: &str = source!("loadbalancer/src/balance.rs");
const FEED: &str = source!("client/src/feed.rs");
const ACCEPT: &str = source!("common/src/log/accept.rs");
const ADVANCE: &str = source!("common/src/log/advance.rs");
const LEDGER: &str = source!("common/src/ledger/mod.rs");
const OUTLET: &str = source!("loadbalancer/src/outlet.rs");
const PROGRESS: &str = source!("worker/src/progress.rs");
const STOCK: &str = source!("loadbalancer/src/stock.rs");
const TRANSACTION: &str = source!("common/src/log/transaction.rs");

#[test]
fn record() {
    in_order(STOCK, "fn take(", &["read_record(", ".cursors()", "< now.head"]);
    in_order(ADVANCE, "fn count_at(", &["renderer.count(", ".cursors()", "!= at.head"]);
}

#[test]
fn sleepers() {
    in_order(FEED, "fn submit(", &["space().look()", "self.try_submit(", "self.wait(seen"]);
    in_order(BALANCE, "fn run(", &["doorbell().look()", ".advance()", "self.sleep(seen"]);
    in_order(BALANCE, "fn sleep(", &["may_sleep(", "doorbell().sleep(seen", ".awake("]);
}

#[test]
fn turns() {
    in_order(FEED, "fn submit(", &["space().look()", "self.try_submit(", "self.wait(seen"]);
    in_order(ACCEPT, "fn accept(", &["Transaction::begin(", ".accept(", "self.pass_on()"]);
    in_order(ACCEPT, "fn pass_on(", &["has_room()", "space().ring_for_one()"]);
    let advance = [
        "has_much_room()",
        "append_ready()",
        "drop(transaction)",
        "has_much_room()",
        "ring_for_one()",
    ];
    in_order(ADVANCE, "fn advance(", &advance);
}

#[test]
fn wishes() {
    in_order(LEDGER, "fn set_watched(", &["watched.store(watched.into(), Ordering::SeqCst)"]);
    in_order(LEDGER, "fn is_watched(", &["watched.load(Ordering::SeqCst) == 1"]);
    in_order(BALANCE, "fn run(", &["doorbell().look()", "set_watched(", ".cursors()", ".sleep("]);
    let log = ["append_ready()", "drop(transaction)", "all_logged()", "is_watched()", ".ring()"];
    in_order(ADVANCE, "fn advance(", &log);
    in_order(
        OUTLET,
        "fn may_sleep(",
        &["set_wake_at(", "ledger.cell(self.worker).executed() < wake_at"],
    );
    in_order(PROGRESS, "fn count(", &["set_executed(", "wants_wake(", "doorbell().ring()"]);
}

#[test]
fn lines() {
    let advance = ["self.cursors()", "self.ready_at(", "self.try_lock()", "append_ready()"];
    in_order(ADVANCE, "fn advance(", &advance);
    let log_ready =
        ["while advanced == Advance::Wrote", "advance()", "advanced == Advance::Busy", "ring();"];
    in_order(PROGRESS, "fn log_ready(", &log_ready);
}

#[test]
fn counted() {
    in_order(LEDGER, "fn received(", &["received.load(Ordering::Acquire)"]);
    in_order(LEDGER, "fn set_received(", &["received.store(messages, Ordering::Release)"]);
    in_order(TRANSACTION, "fn append_ready(", &["executed_frontier(", "ledger.received()"]);
}
