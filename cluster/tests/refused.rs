//! What is refused, or waited for, before anything is submitted. No NATS server is needed: where one must answer, the
//! test is one that only greets.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use assert_cmd::cargo::CommandCargoExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

fn cluster(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("cluster").unwrap();
    // Not those of whoever runs the tests.
    let none = tempfile::tempdir().unwrap();
    command.args(args).env_remove("NATS_URL").env_remove("NATS_CONTEXT");
    command.env("XDG_CONFIG_HOME", none.path());
    command
}

/// A server that greets, answers pings, and refuses whoever says who he is.
fn greeter(info: &'static str, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let _ = write!(stream, "INFO {info}\r\n");
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.starts_with("PING") {
                        let _ = write!(stream, "{answer}\r\n");
                    }
                }
            });
        }
    });
    format!("nats://{address}")
}

#[rstest]
#[case(&["client", "Halo A"], "no `;` in it")]
#[case(&["client", "a;0"], "out of range")]
#[case(&["client", "--instance", "a.b", "a;1"], "must be 1 to 64 letters")]
#[case(&["client", "--replicas", "2", "a;1"], "must be 1, 3 or 5")]
#[case(&["client", "--nats", "http://x y", "a;1"], "--nats http://x y")]
#[case(&["client", "--creds", "/none", "a;1"], "--creds /none: ")]
#[case(&["client", "--nkey", "/none", "a;1"], "--nkey /none: No such file")]
#[case(&["client", "--tlsca", "/none", "a;1"], "/none: No such file")]
#[case(&["client", "--context", "none", "a;1"], "context none: ")]
#[case(&["client", "--password", "x", "a;1"], "--user <NAME>")]
#[case(&["loadbalancer", "--run", "4", "3"], "--run 4: there are workers 1 to 3")]
#[case(&["loadbalancer", "--run", "3-1", "3"], "must be `all`, `none`, or worker numbers")]
#[case(&["loadbalancer", "3", "--", "/none"], "cannot run /none")]
#[case(&["loadbalancer", "257"], "must be a number from 1 to 256")]
#[case(&["loadbalancer", "--retries", "3", "3"], "COMMAND")]
#[case(&["worker", "0"], "must be a number from 1 to 256")]
#[case(&["release"], "<K>...")]
fn wrong_usage_ends_with_2(#[case] args: &[&str], #[case] why: &str) {
    let dir = tempfile::tempdir().unwrap();
    let output = cluster(args).current_dir(&dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(why), "{stderr}");
}

#[test]
fn who_waits_for_a_server_says_so_and_ends_when_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener); // nobody is there
    let mut client = cluster(&["client", "--nats", &address.to_string(), "a;1"]);
    let mut client = client.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(client.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for the servers"), "{said}");
    assert!(said.contains(&address.to_string()), "{said}");
    kill(Pid::from_raw(client.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert!(output.stdout.is_empty());
}

#[rstest]
#[case::old(
    r#"{"server_id":"x","server_name":"alpha","version":"2.9.10","headers":true,"max_payload":1048576}"#,
    "PONG",
    "NATS server alpha is version 2.9.10"
)]
#[case::no_jetstream(
    r#"{"server_id":"x","server_name":"alpha","version":"2.12.1","headers":true,"max_payload":1048576}"#,
    "PONG",
    "NATS server alpha has no JetStream"
)]
#[case::not_allowed(
    r#"{"server_id":"x","server_name":"alpha","version":"2.12.1","headers":true,"max_payload":1048576,"auth_required":true}"#,
    "-ERR 'Authorization Violation'",
    "--creds"
)]
fn a_server_that_cannot_do_it_is_refused_by_name(
    #[case] info: &'static str,
    #[case] answer: &'static str,
    #[case] why: &str,
) {
    let url = greeter(info, answer);
    let output = cluster(&["client", "--nats", &url, "a;1"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(why), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// The context that the `nats` tool has selected says who one is.
#[test]
fn the_context_of_the_nats_tool_is_used() {
    let info = r#"{"server_id":"x","server_name":"alpha","version":"2.9.10","headers":true,"max_payload":1048576}"#;
    let url = greeter(info, "PONG");
    let dir = tempfile::tempdir().unwrap();
    let contexts = dir.path().join("nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    std::fs::write(contexts.join("mine.json"), format!(r#"{{"url":"{url}"}}"#)).unwrap();
    let run = |args: &[&str]| {
        let output = cluster(args).env("XDG_CONFIG_HOME", dir.path()).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let named = run(&["client", "--context", "mine", "a;1"]);
    assert!(named.contains("NATS server alpha"), "{named}");
    std::fs::write(dir.path().join("nats/context.txt"), "mine\n").unwrap();
    let selected = run(&["client", "a;1"]);
    assert!(selected.contains("NATS server alpha"), "{selected}");
}

/// A monitoring port that says what a server with that setting says.
fn monitor(jsz: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{jsz}", jsz.len());
        }
    });
    format!("http://{address}")
}

#[rstest]
#[case(r#"{"config":{"sync_interval":120000000000}}"#, "set `sync_interval: always`")]
fn a_server_that_does_not_write_through_is_refused(#[case] jsz: &'static str, #[case] why: &str) {
    let info = r#"{"server_id":"x","server_name":"alpha","version":"2.12.1","headers":true,"max_payload":1048576}"#;
    let (url, monitor) = (greeter(info, "PONG"), monitor(jsz));
    let dir = tempfile::tempdir().unwrap();
    let mut command = cluster(&["loadbalancer", "--nats", &url, "--monitor", &monitor, "3"]);
    let output = command.current_dir(&dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(why) && stderr.contains(&monitor), "{stderr}");
}
