//! `lbctl status`, for people and for programs.
#![forbid(unsafe_code)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Ended, Process, Sandbox};

/// Fails once; then waits for a file that the test makes.
const SECOND_ATTEMPT_WAITS: &str =
    r#"[ "$LB_ATTEMPT" != 1 ] || exit 1; while [ ! -e "$OUT/go" ]; do sleep 0.01; done"#;

fn json_of(sandbox: &Sandbox) -> Value {
    let ended = sandbox.ok("lbctl", &["status", "--json"]);
    let seen: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&seen["version"], &ended.stderr[..]), (&json!(1), ""), "{ended:#?}");
    seen
}

fn text_of(sandbox: &Sandbox) -> String {
    sandbox.ok("lbctl", &["status"]).stdout
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

/// Since a moment of this test.
fn assert_since(seen: &Value, at_most: Duration) {
    let since = humantime::parse_rfc3339(seen["since"].as_str().unwrap()).unwrap();
    let ago = SystemTime::now().duration_since(since).unwrap_or_default();
    // A clock tick is 10 ms.
    assert!(ago <= at_most + Duration::from_millis(20), "{seen:#}");
    let seconds = seen["seconds"].as_f64().unwrap();
    assert!((0.0..=ago.as_secs_f64() + 0.1).contains(&seconds), "{seen:#}");
}

fn at_second_attempts(sandbox: &Sandbox) -> Process {
    let args = ["--serve", "--retries", "3", "--backoff", "0s", "2"];
    let balancer = sandbox.start_work(&args, &["sh", "-c", SECOND_ATTEMPT_WAITS]);
    sandbox.ok("client", &["Halo A;3"]);
    for k in 1..=2 {
        sandbox.wait_until("a second attempt", || {
            sandbox.in_hand(k).is_some_and(|hand| hand.attempt == 2)
        });
    }
    balancer
}

#[test]
fn nothing_is_there_and_nothing_is_made() {
    let sandbox = Sandbox::default();
    let seen = json_of(&sandbox);
    let expected = json!({
        "version": 1,
        "directory": ".",
        "state": "finished",
        "log_bytes": null,
        "balancer": { "state": "not_running", "workers": null },
        "client_is_open": false,
        "session": null,
        "workers": [],
    });
    assert_eq!(seen, expected);
    assert_says(
        &text_of(&sandbox),
        &["log        none", "balancer   not running", "session    none"],
    );
    assert_eq!(fs::read_dir(sandbox.dir()).unwrap().count(), 0);
    let missing = sandbox.run("lbctl", &["status", "--dir", "/nonexistent"]);
    sandbox.assert_code(&missing, 3);
    assert!(missing.stderr.contains("/nonexistent") && missing.stdout.is_empty(), "{missing:#?}");
    sandbox.assert_clean();
}

#[test]
fn a_running_system_with_messages_in_hand() {
    let begun = SystemTime::now();
    let sandbox = Sandbox::default();
    let mut balancer = at_second_attempts(&sandbox);
    let seen = json_of(&sandbox);
    let since_begun = begun.elapsed().unwrap();
    assert_eq!(seen["state"], "running", "{seen:#}");
    assert_eq!(seen["log_bytes"], sandbox.log_len(), "{seen:#}");
    let of_balancer = &seen["balancer"];
    assert_eq!(of_balancer["state"], "running", "{seen:#}");
    assert_eq!(of_balancer["pid"], balancer.pid(), "{seen:#}");
    assert_eq!(of_balancer["workers"], 2, "{seen:#}");
    assert_since(of_balancer, since_begun);
    let session = &seen["session"];
    assert_eq!(session["state"], "open", "{seen:#}");
    assert_since(session, since_begun);
    let counts = [("submissions", 1), ("accepted", 3), ("received", 3), ("executed", 0)];
    for (name, count) in [&counts[..], &[("logged", 0), ("dead", 0), ("backlog", 3)]].concat() {
        assert_eq!(session[name], count, "{name}: {seen:#}");
    }
    let workers = seen["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    for (k, worker) in (1..).zip(workers) {
        assert_eq!(worker["worker"], k, "{seen:#}");
        assert_eq!(worker["state"], "running", "{seen:#}");
        assert_eq!(worker["pid"], sandbox.spawned_worker(k).unwrap(), "{seen:#}");
        assert_since(worker, since_begun);
        let hand = &worker["in_hand"];
        let id = format!("{}-{k}", session["id"].as_str().unwrap());
        assert_eq!(hand["id"], id, "{seen:#}");
        assert_eq!((&hand["state"], &hand["attempt"]), (&json!("running"), &json!(2)), "{seen:#}");
        assert_eq!(hand["failures"], 1, "{seen:#}");
        assert_since(hand, since_begun);
        assert!(worker["queue"]["bytes_max"].as_u64() > Some(0), "{seen:#}");
    }
    let text = text_of(&sandbox);
    let process = format!("process {}, since 20", balancer.pid());
    let messages = "3 accepted, 3 received, 0 executed, 0 logged, 0 dead";
    assert_says(&text, &[&process, "for 2 workers", messages, "attempt 2, for "]);

    sandbox.stop(balancer.pid());
    let seen = json_of(&sandbox);
    assert_eq!(seen["balancer"]["state"], "stopped", "{seen:#}");
    assert_eq!(seen["balancer"]["pid"], balancer.pid(), "{seen:#}");
    assert_says(&text_of(&sandbox), &[&format!("`kill -CONT {}`", balancer.pid())]);
    balancer.signal(Signal::SIGCONT);

    sandbox.note("go");
    sandbox.wait_until("all is logged", || json_of(&sandbox)["session"]["logged"] == 3);
    assert_eq!(json_of(&sandbox)["workers"][0]["in_hand"], Value::Null);
    let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
    sandbox.assert_code(&ended, 0);
    assert_eq!(json_of(&sandbox)["state"], "finished");
    sandbox.assert_clean();
}

#[test]
fn an_unfinished_session_without_a_load_balancer() {
    let sandbox = Sandbox::default();
    let mut balancer = at_second_attempts(&sandbox);
    balancer.kill();
    sandbox
        .wait_until("the workers have ended", || !sandbox.has_worker(1) && !sandbox.has_worker(2));
    let seen = json_of(&sandbox);
    assert_eq!(seen["state"], "unfinished", "{seen:#}");
    assert_eq!(seen["balancer"], json!({ "state": "not_running", "workers": null }), "{seen:#}");
    assert_eq!(seen["session"]["backlog"], 3, "{seen:#}");
    for worker in seen["workers"].as_array().unwrap() {
        assert_eq!(worker["state"], "not_running", "{seen:#}");
        assert_eq!(worker["in_hand"]["state"], "left", "{seen:#}");
    }
    let dir = sandbox.dir();
    let there = ["status", "--dir", dir.to_str().unwrap()];
    let text = sandbox.ok("lbctl", &there).stdout;
    let advice = format!("`loadbalancer --dir {} 2` finishes", dir.display());
    assert_says(&text, &["not running", &advice, "attempt 2 was interrupted"]);
    sandbox.note("go");
    let ended = sandbox.work(&["--retries", "9", "2"], &["sh", "-c", SECOND_ATTEMPT_WAITS]);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_clean();
}

/// As in a container that shares the directory only. Nothing where that is not allowed.
fn status_elsewhere(sandbox: &Sandbox, args: &[&str]) -> Option<Ended> {
    let mut command = Command::new("unshare"); // of util-linux
    command.arg("--ipc").arg(sandbox.command("lbctl", &[]).get_program()).arg("status").args(args);
    command.current_dir(sandbox.dir()).stdin(Stdio::null());
    let mut process = sandbox.start_command(command, "unshare --ipc lbctl status");
    let ended = sandbox.end(&mut process);
    if ended.stderr.contains("Operation not permitted") {
        eprintln!("skipped: needs CAP_SYS_ADMIN");
        return None;
    }
    Some(ended)
}

/// It said that all was finished.
#[test]
fn a_session_in_another_ipc_namespace_is_not_called_finished() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;3"]);
    // Nobody is there who could say where the ledger is.
    let Some(ended) = status_elsewhere(&sandbox, &["--json"]) else { return };
    sandbox.assert_code(&ended, 0);
    let seen: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(seen["state"], "ledger_missing", "{seen:#}");
    let text = status_elsewhere(&sandbox, &[]).unwrap().stdout;
    assert_says(&text, &["its ledger is not here", "in another IPC namespace"]);
    assert_eq!(json_of(&sandbox)["state"], "unfinished");

    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("a worker is there", || sandbox.has_worker(1));
    let ended = status_elsewhere(&sandbox, &[]).unwrap();
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("sistem.log is in use in another IPC namespace"), "{ended:#?}");
    assert_eq!(ended.stdout, "");
    worker.kill();
    sandbox.ok("loadbalancer", &["1"]);
    sandbox.assert_clean();
}

/// It waited for ever for somebody to write into it.
#[test]
fn what_only_has_the_logs_name_is_refused() {
    let sandbox = Sandbox::default();
    nix::unistd::mkfifo(&sandbox.log_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ended = sandbox.run("lbctl", &["status"]);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("is not a regular file"), "{ended:#?}");
}
