//! Kill -9 of a load balancer, a worker, a client at some moments of a larger job: the same command
//! again finishes it, byte for byte. (`cargo xtask crash` does this at every instant.)
#![forbid(unsafe_code)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tests::oracle::{canonical_log, submissions};
use tests::{Process, Sandbox};

const COUNT: u32 = 100_000;

fn submitted() -> (Sandbox, String) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &[&format!("Halo A;{COUNT}")]);
    (sandbox, canonical_log(&[("Halo A", COUNT)], 3))
}

/// The same command again. Not when the session was complete and removed before the kill: then it
/// would wait for the next one.
fn start_again(sandbox: &Sandbox) {
    if !sandbox.ipc_objects().is_empty() {
        sandbox.ok("loadbalancer", &["3"]);
    }
}

/// Where in the log: before any worker's line, just there, and within their lines.
#[rstest]
fn the_balancer(#[values(1, 30, 62, 70, 95)] percent: u64) {
    let (sandbox, expected) = submitted();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_for_log(expected.len() as u64 * percent / 100);
    balancer.kill();
    sandbox.wait_until("its workers die with it", || sandbox.processes().is_empty());
    start_again(&sandbox);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

#[test]
fn the_balancer_again_and_again() {
    let (sandbox, expected) = submitted();
    for percent in (5..100).step_by(6) {
        if sandbox.log_len() == expected.len() as u64 {
            break; // this test was not scheduled for long: there is nothing left to kill
        }
        let mut balancer = sandbox.start("loadbalancer", &["3"]);
        sandbox.wait_for_log(expected.len() as u64 * percent / 100);
        balancer.kill();
    }
    start_again(&sandbox);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// The balancer replaces it.
#[rstest]
fn a_spawned_worker(#[values(1, 60, 80)] percent: u64) {
    let (sandbox, expected) = submitted();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_for_log(expected.len() as u64 * percent / 100);
    let mut pid = None;
    sandbox.wait_until("worker 2 runs, or all is done", || {
        pid = sandbox.spawned_worker(2);
        pid.is_some() || !balancer.is_running()
    });
    // It may have ended by now, if this test was not scheduled for long.
    let killed = pid.is_some_and(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
    let killed_at = sandbox.log_len();
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    // Before the workers' lines begin, much of its work was to come: so its death must be noticed.
    if let Some(pid) = pid.filter(|_| killed && killed_at < expected.len() as u64 / 2) {
        let said = format!("worker 2 (process {pid}) ended: signal: 9 (SIGKILL)");
        assert!(ended.stderr.contains(&said), "{ended:#?}");
    }
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// Everyone waits for it; started again, it goes on where it was.
#[rstest]
fn a_worker_started_by_hand(#[values(1, 60, 80)] percent: u64) {
    let (sandbox, expected) = submitted();
    let start = |k: u32| sandbox.start("worker", &[&k.to_string()]);
    let mut running: Vec<Process> = (1..=3).map(start).collect();
    running.push(sandbox.start("loadbalancer", &["--no-spawn", "3"]));
    sandbox.wait_for_log(expected.len() as u64 * percent / 100);
    running[1].kill();
    let mut again = start(2);
    for i in [0, 2, 3] {
        sandbox.assert_code(&sandbox.end(&mut running[i]), 0);
    }
    sandbox.assert_log(&expected);
    // It took part to the end, or came after that and waits for the next session.
    sandbox.wait_until("it has ended, or heeds signals", || {
        !again.is_running() || sandbox.has_worker(2)
    });
    again.signal(Signal::SIGTERM);
    let code = sandbox.end(&mut again).status.code();
    assert!(matches!(code, Some(0 | 143)), "{code:?}{}", sandbox.report());
    sandbox.assert_clean();
}

/// Workers started by hand outlive their balancer, and serve the next one.
#[test]
fn the_balancer_of_workers_started_by_hand() {
    let (sandbox, expected) = submitted();
    let mut workers = [1, 2, 3].map(|k: u32| sandbox.start("worker", &[&k.to_string()]));
    let totals_at = expected.find("Worker 1: ").unwrap() as u64;
    for percent in [10, 62, 80] {
        let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
        sandbox.wait_for_log(expected.len() as u64 * percent / 100);
        balancer.kill();
        if sandbox.log_len() >= totals_at {
            break; // this test was not scheduled for long: the workers may be ending
        }
        for worker in &mut workers {
            assert!(worker.is_running(), "{}", sandbox.report());
        }
    }
    if !sandbox.ipc_objects().is_empty() {
        sandbox.ok("loadbalancer", &["--no-spawn", "3"]);
    }
    for worker in &mut workers {
        sandbox.assert_code(&sandbox.end(worker), 0);
    }
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// What it said was accepted is there once, and nothing is there in part.
#[rstest]
fn a_client(#[values(1, 50, 400)] accepted: usize) {
    const LINES: usize = 5000;
    let sandbox = Sandbox::default();
    let input: Vec<String> = (0..LINES).map(|i| format!("text {i};1")).collect();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    let mut client = sandbox.start_with_input("client", &[], input.join("\n").as_bytes());
    sandbox.wait_until("it was told of some", || client.stdout().lines().count() >= accepted);
    client.kill();
    let told = client.stdout().lines().count();
    sandbox.wait_until("the balancer heeds signals", || sandbox.has_balancer());
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    let logged = submissions(&sandbox.log());
    assert!(logged.len() >= told, "{told} were confirmed, {} are logged", logged.len());
    assert_eq!(logged[..], input[..logged.len()]);
    assert_eq!(sandbox.sessions()[0].submissions, logged.len() as u64);
    sandbox.assert_clean();
}
