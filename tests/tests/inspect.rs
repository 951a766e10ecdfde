//! `cargo xtask inspect`: what it tells of a session, and that it only looks.
#![forbid(unsafe_code)]

mod xtask;

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::Sandbox;

fn inspect(dir: &Path) -> Value {
    xtask::json(&xtask::run(&["inspect", "--dir", dir.to_str().unwrap()], 0))
}

#[test]
fn nothing_is_made_where_nothing_is() {
    let sandbox = Sandbox::default();
    let seen = inspect(&sandbox.dir());
    assert_eq!(seen["ledger"], Value::Null);
    assert_eq!(seen["log_len"], Value::Null);
    assert_eq!(seen["state"], "finished");
    assert_eq!(seen["objects"], json!([]));
    assert_eq!(std::fs::read_dir(sandbox.dir()).unwrap().count(), 0);
    sandbox.assert_clean();
}

#[test]
fn accepted_submissions_are_shown_and_left_as_they_are() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;3", "b;c;2"]);
    let seen = inspect(&sandbox.dir());
    let ledger = &seen["ledger"];
    assert_eq!(ledger["unfinished"], json!(["a;3", "b;c;2"]));
    assert_eq!(seen["state"], "unfinished");
    assert_eq!(ledger["bells"]["doorbell"]["sleeper"], false);
    assert_eq!(ledger["cursors"]["submissions"], 2);
    assert_eq!(ledger["cursors"]["messages"], 5);
    assert_eq!(ledger["cursors"]["log_len"], sandbox.log().len());
    assert_eq!(ledger["pending"], Value::Null);
    assert_eq!(ledger["workers"], json!([]));
    assert_eq!(seen["objects"][0]["kind"], "segment");
    assert_eq!(inspect(&sandbox.dir()), seen, "looking changes nothing");
    sandbox.ok("loadbalancer", &["2"]);
    sandbox.assert_clean();
}

#[test]
fn workers_and_their_queues_are_shown() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "2"]);
    sandbox.ok("client", &["a;3"]);
    sandbox.wait_until("everything is executed", || sandbox.log().matches("Worker").count() == 3);
    let seen = inspect(&sandbox.dir());
    let workers = seen["ledger"]["workers"].as_array().unwrap();
    let executed: Vec<_> = workers.iter().map(|worker| &worker["executed"]).collect();
    assert_eq!(executed, [2, 1], "{seen:#}");
    for worker in workers {
        assert_eq!(worker["generation"], 1, "{seen:#}");
        assert_eq!(worker["queue"]["messages"], 0, "{seen:#}");
        assert!(worker["queue"]["bytes_max"].as_u64().unwrap() > 0, "{seen:#}");
    }
    assert_eq!(seen["objects"].as_array().unwrap().len(), 3, "{seen:#}");
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_clean();
}

#[test]
fn a_directory_that_is_not_there() {
    let output = xtask::run(&["inspect", "--dir", "/nonexistent"], 3);
    assert!(xtask::both(&output).contains("/nonexistent"), "{}", xtask::both(&output));
}

/// Its path names nothing any more, and so nothing could find what it left.
#[test]
fn what_a_deleted_directory_left_can_be_listed_and_removed() {
    let sandbox = Sandbox::default();
    let dir = sandbox.dir().join("deleted");
    std::fs::create_dir(&dir).unwrap();
    let dir_name = dir.to_str().unwrap();
    sandbox.ok("client", &["--dir", dir_name, "Halo A;10"]);
    let mut worker = sandbox.start("worker", &["--dir", dir_name, "1"]);
    let ledger = || {
        let listed = xtask::json(&xtask::run(&["inspect", "--all"], 0));
        let ledgers = listed["ledgers"].as_array().unwrap().clone();
        ledgers.into_iter().find(|ledger| dir_name.ends_with(ledger["path"].as_str().unwrap()))
    };
    sandbox.wait_until("the worker has a queue", || {
        ledger().is_some_and(|ledger| ledger["queues"].as_array().unwrap().len() == 1)
    });
    assert_eq!(ledger().unwrap()["directory"], "there");
    worker.kill();
    std::fs::remove_dir_all(&dir).unwrap();
    let left = ledger().unwrap();
    assert_eq!(left["directory"], "deleted or renamed", "{left:#}");
    let remove = left["remove"].as_str().unwrap();
    let removed = std::process::Command::new("sh").arg("-c").arg(remove).status().unwrap();
    assert!(removed.success(), "{remove}");
    assert_eq!(ledger(), None);
}
