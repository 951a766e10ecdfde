//! Used by hand: the programs in any order, several sessions, two directories, and the end of a
//! one-shot load balancer.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;

use nix::sys::signal::Signal;
use rstest::rstest;
use tests::Sandbox;
use tests::oracle::{canonical_log, submissions};

/// What the log holds after `Halo A;10` with 3 workers.
const SAMPLE: &str = include_str!("sample.log");

#[test]
fn one_worker_is_started_long_after_the_others() {
    let sandbox = Sandbox::default();
    let mut running: Vec<_> = ["1", "3"].map(|k| sandbox.start("worker", &[k])).into();
    running.push(sandbox.start("loadbalancer", &["--no-spawn", "3"]));
    sandbox.ok("client", &["Halo A;10"]);
    // Worker 1's first line is all that can be written without worker 2.
    let until_then = SAMPLE.find("Worker2:").unwrap() as u64;
    sandbox.wait_for_log(until_then);
    let balancer = running.last().unwrap();
    sandbox.wait_until("worker 2 is asked for", || balancer.stderr().contains("start `worker 2`"));
    assert_eq!(sandbox.log_len(), until_then, "{}", sandbox.report());
    running.push(sandbox.start("worker", &["2"]));
    for process in &mut running {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

/// It stood still while the session went by, whose N it was beyond.
#[test]
fn a_worker_that_was_not_needed_ends_with_2_also_after_the_session() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let mut fourth = sandbox.start("worker", &["4"]);
    sandbox.wait_until("it has a queue", || !sandbox.queues().is_empty());
    sandbox.stop(fourth.pid());
    sandbox.ok("loadbalancer", &["3"]);
    fourth.signal(Signal::SIGCONT);
    let ended = sandbox.end(&mut fourth);
    sandbox.assert_code(&ended, 2);
    let told = "worker: worker 4 is not needed: this session is shared by workers 1 to 3\n";
    assert!(ended.stderr.ends_with(told), "{ended:#?}");
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

#[test]
fn several_submissions_come_before_the_balancer() {
    let sandbox = Sandbox::default();
    let ended = sandbox.ok("client", &["Halo A;10", "a;b;1"]);
    assert_eq!(ended.stdout, "accepted Halo A;10\naccepted a;b;1\n");
    assert_eq!(sandbox.ok("client", &["--quiet", "Halo C;4"]).stdout, "");
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(&canonical_log(&[("Halo A", 10), ("a;b", 1), ("Halo C", 4)], 3));
    sandbox.assert_clean();
}

#[test]
fn a_directory_may_be_named_like_an_option() {
    let sandbox = Sandbox::default();
    let dir = sandbox.dir().join("-x");
    std::fs::create_dir(&dir).unwrap();
    sandbox.ok("client", &["--dir=-x", "Halo A;10"]);
    sandbox.ok("loadbalancer", &["--dir=-x", "3"]);
    assert_eq!(std::fs::read_to_string(dir.join("sistem.log")).unwrap(), SAMPLE);
    std::fs::remove_dir_all(dir).unwrap();
    sandbox.assert_clean();
}

#[test]
fn sessions_follow_each_other_in_one_log() {
    let sandbox = Sandbox::default();
    let mut expected = String::new();
    for (text, count, workers) in [("a", 10, 3), ("b", 1, 5), ("c", 7, 1)] {
        sandbox.ok("client", &[&format!("{text};{count}")]);
        sandbox.ok("loadbalancer", &[&workers.to_string()]);
        expected += &canonical_log(&[(text, count)], workers);
    }
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

#[test]
fn two_directories_do_not_disturb_each_other() {
    let sandboxes = [Sandbox::default(), Sandbox::default()];
    let mut balancers = sandboxes.each_ref().map(|sandbox| sandbox.start("loadbalancer", &["3"]));
    for (sandbox, text) in sandboxes.iter().zip(["one", "two"]) {
        sandbox.ok("client", &[&format!("{text};1000")]);
    }
    for ((sandbox, balancer), text) in sandboxes.iter().zip(&mut balancers).zip(["one", "two"]) {
        let ended = sandbox.end(balancer);
        sandbox.assert_code(&ended, 0);
        sandbox.assert_log(&canonical_log(&[(text, 1000)], 3));
        sandbox.assert_clean();
    }
}

#[test]
fn the_directory_may_be_named_instead_of_entered() {
    let sandbox = Sandbox::default();
    let elsewhere = Sandbox::default();
    let dir = sandbox.dir();
    let dir = dir.to_str().unwrap();
    elsewhere.ok("client", &["--dir", dir, "Halo A;10"]);
    elsewhere.ok("loadbalancer", &["--dir", dir, "3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
    elsewhere.assert_clean();
    assert!(!elsewhere.log_path().exists(), "{}", elsewhere.report());
}

/// How a client that still feeds may end.
#[rstest]
#[case::at_its_end(|client, pipe| { drop(pipe); client })]
#[case::killed(|mut client: tests::Process, _pipe| { client.kill(); client })]
fn a_one_shot_balancer_waits_for_a_client_that_feeds(
    #[case] end: fn(tests::Process, std::process::ChildStdin) -> tests::Process,
) {
    let sandbox = Sandbox::default();
    let mut client = sandbox.start_with_pipe("client", &[]);
    let mut pipe = client.take_stdin();
    pipe.write_all(b"first;5\n").unwrap();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    let first = canonical_log(&[("first", 5)], 3);
    let without_totals = first.find("Worker 1: ").unwrap() as u64;
    sandbox.wait_for_log(without_totals);
    let told = "loadbalancer: waiting for a client that is still open (Ctrl-D ends its input)\n";
    sandbox.wait_until("it says what it waits for", || balancer.stderr().contains(told));

    // Everything that was accepted is logged. It must stay, and take what comes now.
    pipe.write_all(b"second;2\n").unwrap();
    sandbox.wait_until("the second is accepted", || client.stdout().contains("second;2"));
    assert!(balancer.is_running(), "{}", sandbox.report());
    drop(end(client, pipe));

    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.matches(told).count(), 1, "once: {ended:#?}");
    let sessions = sandbox.sessions();
    assert_eq!(sessions.len(), 1, "{}", sandbox.report());
    assert_eq!(sessions[0].shares, [3, 2, 2]);
    assert_eq!(submissions(&sandbox.log()), ["first;5", "second;2"]);
    sandbox.assert_clean();
}

#[rstest]
#[case("client")]
#[case("loadbalancer")]
#[case("worker")]
fn help_and_version_are_everywhere(#[case] program: &str) {
    let sandbox = Sandbox::default();
    let help = sandbox.ok(program, &["--help"]);
    assert!(help.stdout.contains("Usage:") && help.stdout.contains("--dir"), "{help:#?}");
    let version = sandbox.ok(program, &["--version"]);
    assert_eq!(version.stdout, format!("{program} {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!((help.stderr, version.stderr), (String::new(), String::new()));
    let left: Vec<_> = std::fs::read_dir(sandbox.dir()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Killed as soon as it had made its queue, when the session had ended meanwhile, it left the queue for ever. It is
/// made under the lock under which a session ends.
#[test]
fn a_queue_is_made_under_the_lock_only() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;1"]);
    let log = File::open(sandbox.dir().join("sistem.log")).unwrap();
    log.lock().unwrap();
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("it waits", || worker.stderr().contains("has locked sistem.log"));
    assert_eq!(sandbox.ipc_objects().len(), 1, "the ledger: {}", sandbox.report());
    log.unlock().unwrap();
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    for process in [&mut worker, &mut balancer] {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.assert_log(&canonical_log(&[("a", 1)], 1));
    sandbox.assert_clean();
}
