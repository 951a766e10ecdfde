//! IPC objects removed by others while a session runs, as `ipcrm` does: queues are made again, and
//! without its ledger a session ends with a clear error and is finished by the next start.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{IpcObject, Process, Sandbox};

const COUNT: u32 = 100_000;

fn running_at(percent: u64) -> (Sandbox, Process, String) {
    let sandbox = Sandbox::default();
    let expected = canonical_log(&[("Halo A", COUNT)], 3);
    sandbox.ok("client", &[&format!("Halo A;{COUNT}")]);
    let balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_for_log(expected.len() as u64 * percent / 100);
    (sandbox, balancer, expected)
}

fn remove(sandbox: &Sandbox, which: fn(&IpcObject) -> bool) -> usize {
    let objects: Vec<_> = sandbox.ipc_objects().into_iter().filter(which).collect();
    let count = objects.len();
    objects.into_iter().for_each(IpcObject::remove);
    count
}

const SEGMENTS: fn(&IpcObject) -> bool = |object| matches!(object, IpcObject::Segment { .. });
const QUEUES: fn(&IpcObject) -> bool = |object| matches!(object, IpcObject::Queue { .. });

#[rstest]
fn queues_are_made_again(#[values(1, 58, 70)] percent: u64) {
    let (sandbox, mut balancer, expected) = running_at(percent);
    for _ in 0..3 {
        remove(&sandbox, QUEUES);
    }
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

#[test]
fn queues_are_made_again_for_idle_workers() {
    let sandbox = Sandbox::default();
    let mut running: Vec<_> = ["1", "2", "3"].map(|k| sandbox.start("worker", &[k])).into();
    running.push(sandbox.start("loadbalancer", &["--serve", "--no-spawn", "3"]));
    sandbox.ok("client", &["first;3"]);
    sandbox.wait_until("all is executed", || sandbox.log().contains("Worker3: message received"));
    assert!(remove(&sandbox, QUEUES) > 0);
    sandbox.ok("client", &["Halo A;10"]);
    let expected = canonical_log(&[("first", 3), ("Halo A", 10)], 3);
    sandbox.wait_for_log(expected.find("Worker 1: ").unwrap() as u64);
    running[3].signal(nix::sys::signal::Signal::SIGTERM);
    for process in running.iter_mut().rev() {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    assert_eq!(sandbox.sessions()[0].shares, [5, 4, 4]);
    sandbox.assert_clean();
}

#[rstest]
fn without_its_ledger_it_ends_and_is_finished_later(
    #[values(1, 58, 70)] percent: u64,
    #[values(false, true)] queues_too: bool,
) {
    let (sandbox, mut balancer, expected) = running_at(percent);
    let start = Instant::now();
    let removed = remove(&sandbox, if queues_too { |_| true } else { SEGMENTS });
    let ended = sandbox.end(&mut balancer);
    // They may still add to the log.
    sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());
    // It may have ended just before.
    if removed > 0 && sandbox.log_len() < expected.len() as u64 {
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("was removed by another program; start again"), "{ended:#?}");
        assert!(start.elapsed() < Duration::from_secs(15), "noticed after {:?}", start.elapsed());
        sandbox.ok("loadbalancer", &["3"]);
    }
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// The log does not tell for how many workers a lost ledger's queues were.
#[test]
fn a_rebuilt_session_forgets_no_queue() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let mut running = vec![sandbox.start("loadbalancer", &["--no-spawn", "5"])];
    running.extend(["4", "5"].map(|k| sandbox.start("worker", &[k])));
    sandbox.wait_until("there are queues", || sandbox.queues().len() == 2);
    running.iter_mut().for_each(Process::kill);
    assert_eq!(remove(&sandbox, SEGMENTS), 1);
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// Noticed by a balancer that has nothing to do, too.
#[test]
fn an_idle_balancer_notices() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.ok("client", &["Halo A;9"]);
    let expected = canonical_log(&[("Halo A", 9)], 3);
    sandbox.wait_for_log(expected.find("Worker 1: ").unwrap() as u64);
    let start = Instant::now();
    assert_eq!(remove(&sandbox, SEGMENTS), 1);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 3);
    assert!(start.elapsed() < Duration::from_secs(15), "noticed after {:?}", start.elapsed());
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}
