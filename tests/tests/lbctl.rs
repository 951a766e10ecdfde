//! `lbctl` as a program: its exit codes and where it prints. What `verify` and `inspect` tell is tested through
//! `cargo xtask`, which is the same code.
#![forbid(unsafe_code)]

use serde_json::Value;
use tests::Sandbox;

const SAMPLE: &str = include_str!("sample.log");

#[test]
fn a_right_log() {
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.log_path(), SAMPLE).unwrap();
    let ended = sandbox.ok("lbctl", &["verify", "sistem.log"]);
    assert!(ended.stdout.contains("every message exactly once"), "{ended:#?}");
    assert_eq!(ended.stderr, "");
    sandbox.assert_clean();
}

#[test]
fn a_wrong_log() {
    let sandbox = Sandbox::default();
    let damaged = SAMPLE.replace("Worker 1: 4 messages", "Worker 1: 5 messages");
    assert_ne!(damaged, SAMPLE);
    std::fs::write(sandbox.log_path(), damaged).unwrap();
    let ended = sandbox.run("lbctl", &["verify", "sistem.log"]);
    sandbox.assert_code(&ended, 4);
    assert!(ended.stdout.contains("first wrong line: line 23"), "{ended:#?}");
    let ended = sandbox.run("lbctl", &["verify", "--json", "sistem.log"]);
    sandbox.assert_code(&ended, 4);
    let verdict: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(verdict["first_wrong"]["line"], 23, "{verdict:#}");
}

#[test]
fn a_log_that_is_not_there() {
    let sandbox = Sandbox::default();
    let ended = sandbox.run("lbctl", &["verify", "sistem.log"]);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("sistem.log"), "{ended:#?}");
}

#[test]
fn an_empty_directory_is_only_looked_at() {
    let sandbox = Sandbox::default();
    let ended = sandbox.ok("lbctl", &["inspect"]);
    let seen: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(seen["ledger"], Value::Null);
    assert_eq!(std::fs::read_dir(sandbox.dir()).unwrap().count(), 0);
    sandbox.assert_clean();
}

#[test]
fn a_directory_that_is_not_there() {
    let sandbox = Sandbox::default();
    let ended = sandbox.run("lbctl", &["inspect", "--dir", "/nonexistent"]);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("/nonexistent"), "{ended:#?}");
}

#[test]
fn usage() {
    let sandbox = Sandbox::default();
    for args in [&[][..], &["verify"], &["look"], &["inspect", "--all", "--dir", "."]] {
        let ended = sandbox.run("lbctl", args);
        sandbox.assert_code(&ended, 2);
    }
}

/// The message of an unfinished log that cannot be read back can be followed as it is.
#[test]
fn the_advice_of_an_unreadable_log_names_the_line() {
    let sandbox = Sandbox::default();
    let damaged = "Message from client: a\nMessage count: 2\nReceived at lb: a (#message 2)\n";
    std::fs::write(sandbox.log_path(), damaged).unwrap();
    let ended = sandbox.run("loadbalancer", &["2"]);
    sandbox.assert_code(&ended, 3);
    let advice = ended.stderr.split('`').find(|command| command.starts_with("lbctl "));
    let args: Vec<&str> = advice.unwrap_or_default().split(' ').skip(1).collect();
    let ended = sandbox.run("lbctl", &args);
    sandbox.assert_code(&ended, 4);
    assert!(ended.stdout.contains("first wrong line: line 3"), "{ended:#?}");
}
