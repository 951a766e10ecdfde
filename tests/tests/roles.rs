//! One load balancer, one worker of each number, numbers that fit: everything else is one clear line.
#![forbid(unsafe_code)]

use rstest::rstest;
use tests::{Ended, Process, Sandbox};

/// Exactly one line on stderr, which says this; nothing on stdout.
fn assert_refused(sandbox: &Sandbox, ended: &Ended, code: i32, says: &str) {
    sandbox.assert_code(ended, code);
    assert_eq!(ended.stdout, "", "{ended:#?}");
    assert!(ended.stderr.contains(says), "{ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
}

fn drain(sandbox: &Sandbox, mut balancer: Process) {
    balancer.signal(nix::sys::signal::Signal::SIGINT);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
}

#[test]
fn a_second_balancer_is_refused() {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("worker 3 runs", || sandbox.has_worker(3));
    let second = sandbox.run("loadbalancer", &["3"]);
    assert_refused(&sandbox, &second, 3, "a load balancer is already running in this directory");
    // The first one is none the worse for it.
    sandbox.ok("client", &["Halo A;10"]);
    drain(&sandbox, balancer);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

#[test]
fn fresh_does_not_take_a_running_session_away() {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("it has its role", || sandbox.has_balancer());
    sandbox.ok("client", &["Halo A;10"]);
    let second = sandbox.run("loadbalancer", &["--fresh", "3"]);
    assert_refused(&sandbox, &second, 3, "a load balancer is already running in this directory");
    drain(&sandbox, balancer);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

#[test]
fn fresh_leaves_alone_who_waits_for_a_session() {
    let sandbox = Sandbox::default();
    let mut by_hand = sandbox.start("worker", &["1"]);
    sandbox.wait_until("the worker has its role", || sandbox.has_worker(1));
    let balancer = sandbox.start("loadbalancer", &["--fresh", "--serve", "--no-spawn", "1"]);
    sandbox.wait_until("it has its role", || sandbox.has_balancer());
    sandbox.ok("client", &["Halo A;10"]);
    drain(&sandbox, balancer);
    sandbox.assert_code(&sandbox.end(&mut by_hand), 0);
    sandbox.assert_clean();
}

#[test]
fn a_worker_number_is_taken_once() {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("worker 2 runs", || sandbox.has_worker(2));
    let second = sandbox.run("worker", &["2"]);
    assert_refused(&sandbox, &second, 3, "worker 2 is already running in this directory");
    sandbox.ok("client", &["Halo A;10"]);
    drain(&sandbox, balancer);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

#[test]
fn a_balancer_uses_a_worker_that_was_started_by_hand() {
    let sandbox = Sandbox::default();
    let mut by_hand = sandbox.start("worker", &["2"]);
    sandbox.wait_until("it has its role", || sandbox.has_worker(2));
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["3"]);
    let ended = sandbox.end(&mut by_hand);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

#[test]
fn a_worker_number_above_n_is_refused() {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("worker 3 runs", || sandbox.has_worker(3));
    let fourth = sandbox.run("worker", &["4"]);
    assert_refused(&sandbox, &fourth, 2, "this session is shared by workers 1 to 3");
    drain(&sandbox, balancer);
    sandbox.assert_clean();
}

/// N and K. What is refused is refused before anything is touched.
#[rstest]
#[case("loadbalancer", &["0"])]
#[case("loadbalancer", &["257"])]
#[case("loadbalancer", &["-1"])]
#[case("loadbalancer", &["+3"])]
#[case("loadbalancer", &["three"])]
#[case("loadbalancer", &[""])]
#[case("loadbalancer", &["99999999999999999999"])]
#[case("loadbalancer", &[])]
#[case("loadbalancer", &["3", "3"])]
#[case("worker", &["0"])]
#[case("worker", &["257"])]
#[case("worker", &["1.5"])]
#[case("worker", &[])]
#[case("client", &["--unknown"])]
fn numbers_and_usage_are_checked(#[case] program: &str, #[case] args: &[&str]) {
    let sandbox = Sandbox::default();
    let ended = sandbox.run(program, args);
    sandbox.assert_code(&ended, 2);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("error: "), "{ended:#?}");
    if let [number] = args
        && !number.is_empty()
        && !number.starts_with('-')
    {
        assert!(ended.stderr.contains("1 to 256"), "{ended:#?}");
    }
    assert!(!sandbox.log_path().exists(), "{}", sandbox.report());
    sandbox.assert_clean();
}

/// The bounds themselves are fine.
#[rstest]
#[case::n_least(1)]
#[case::n_most(256)]
fn the_least_and_the_most_workers(#[case] workers: u32) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;300"]);
    sandbox.ok("loadbalancer", &[&workers.to_string()]);
    sandbox.assert_log(&tests::oracle::canonical_log(&[("Halo A", 300)], workers));
    sandbox.assert_clean();
}
