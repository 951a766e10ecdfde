//! Others take frames out of a worker's queue, or put them in again: they are sent again, dropped if they
//! come twice, and the log comes out right.
#![forbid(unsafe_code)]

use common::fence::message_queue::{MESSAGE_LEN_MAX, Message};
use common::queue;
use common::queue::message::{ToWorker, begin_frame};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Process, Sandbox};

/// A thief takes whatever he can, from a worker that is stopped for a moment and from all others.
#[rstest]
#[case::spawned(true)]
#[case::by_hand(false)]
fn stolen_frames_are_sent_again(#[case] spawned: bool) {
    let sandbox = Sandbox::default();
    let args: &[_] = if spawned { &["--serve", "3"] } else { &["--serve", "--no-spawn", "3"] };
    let mut running = vec![sandbox.start("loadbalancer", args)];
    if !spawned {
        running.extend(["1", "2", "3"].map(|k| sandbox.start("worker", &[k])));
    }
    // Then there are queues.
    sandbox.ok("client", &["first;3"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker3: message received"));
    let victim = if spawned { sandbox.spawned_worker(2).unwrap() } else { running[2].pid() };
    let victim = Pid::from_raw(victim);
    sandbox.stop(victim.as_raw());
    sandbox.ok("client", &["Halo A;100000"]);
    let mut loot = Message::boxed();
    let mut stolen = 0;
    sandbox.wait_until("enough is stolen", || {
        for queue in sandbox.queues() {
            stolen += u32::from(queue.try_receive(&mut loot, sandbox.mark()).is_ok());
        }
        stolen >= 3
    });
    // A spawned one may have been killed for standing still.
    let _ = kill(victim, Signal::SIGCONT);
    let executed = || sandbox.log().matches(": message received\n").count();
    sandbox.wait_until("all is executed", || executed() == 100_003);
    running[0].signal(Signal::SIGTERM);
    for process in &mut running {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    assert_eq!(sandbox.sessions()[0].shares, [33_335, 33_334, 33_334]);
    sandbox.assert_clean();
}

/// The only frame: no later one shows that it is missing.
#[rstest]
#[case::spawned(true)]
#[case::by_hand(false)]
fn the_last_frame_is_sent_again(#[case] spawned: bool) {
    let sandbox = Sandbox::default();
    let mut running: Vec<Process> = Vec::new();
    let worker = if spawned {
        running.push(sandbox.start("loadbalancer", &["--serve", "1"]));
        sandbox.wait_until("its worker runs", || sandbox.has_worker(1));
        sandbox.spawned_worker(1).unwrap()
    } else {
        running.push(sandbox.start("loadbalancer", &["--serve", "--no-spawn", "1"]));
        running.push(sandbox.start("worker", &["1"]));
        running[1].pid()
    };
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    let pid = Pid::from_raw(worker);
    sandbox.stop(worker);
    sandbox.ok("client", &["Halo A;10"]);
    let mut loot = Message::boxed();
    sandbox.wait_until("it is stolen", || {
        sandbox
            .queues()
            .first()
            .is_some_and(|queue| queue.try_receive(&mut loot, sandbox.mark()).is_ok())
    });
    // It may have been killed for standing still.
    let _ = kill(pid, Signal::SIGCONT);
    sandbox.wait_until("all is executed", || sandbox.log().matches("Worker1: ").count() == 11);
    running[0].signal(Signal::SIGTERM);
    for process in &mut running {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    assert_eq!(sandbox.sessions()[0].shares, [11]);
    sandbox.assert_clean();
}

/// A service, and its worker, which was started by hand and has executed the first submission.
fn one_by_hand(sandbox: &Sandbox, worker: &[&str], first: &str) -> [Process; 2] {
    let worker = sandbox.start("worker", worker);
    let balancer = sandbox.start("loadbalancer", &["--serve", "--no-spawn", "1"]);
    sandbox.ok("client", &[first]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    [balancer, worker]
}

/// The request for the total: there is no later message either. A balancer whose workers are started by
/// hand once span here, and did not get to asking again.
#[test]
fn a_stolen_request_for_a_total_is_sent_again() {
    let sandbox = Sandbox::default();
    let [mut balancer, mut worker] = one_by_hand(&sandbox, &["1"], "Halo A;1");
    sandbox.stop(worker.pid());
    balancer.signal(Signal::SIGTERM);
    let (mut loot, mut len) = (Message::boxed(), 0);
    sandbox.wait_until("it is stolen", || {
        sandbox.queues()[0].try_receive(&mut loot, sandbox.mark()).is_ok_and(|received| {
            len = received;
            true
        })
    });
    let session = sandbox.ledger().unwrap().session();
    assert_eq!(ToWorker::of(&loot, len, session), Ok(ToWorker::TotalIsDue));
    worker.signal(Signal::SIGCONT);
    sandbox.assert_code(&sandbox.end(&mut worker), 0);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&canonical_log(&[("Halo A", 1)], 1));
    sandbox.assert_clean();
}

/// As after a death between sending and counting: what was executed is not executed again.
#[test]
fn a_frame_that_comes_twice_is_executed_once() {
    let sandbox = Sandbox::default();
    let [mut balancer, mut worker] = one_by_hand(&sandbox, &["--echo", "1"], "first;1");
    sandbox.stop(worker.pid());
    sandbox.ok("client", &["Halo A;10"]);
    let queue = sandbox.queues()[0];
    let mut frame = Message::boxed();
    let mut len = 0;
    sandbox.wait_until("its frame is there", || {
        queue.try_receive(&mut frame, sandbox.mark()).is_ok_and(|received| {
            len = received;
            true
        })
    });
    for _ in 0..3 {
        queue.try_send(&frame, len).unwrap();
    }
    // Received, too: else there would be nothing that the second one could be taken for.
    sandbox.ok("client", &["last;5"]);
    sandbox.wait_until("it is there as well", || {
        queue::load(queue, sandbox.mark()).unwrap().messages == 4
    });
    worker.signal(Signal::SIGCONT);
    sandbox.wait_until("all is executed", || sandbox.log().matches("Worker1: ").count() == 16);
    balancer.signal(Signal::SIGTERM);
    let echoed = sandbox.end(&mut worker).stdout;
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    let lines = |text, count| (1..=count).map(move |i| format!("{text};{i}\n"));
    let expected: String =
        lines("first", 1).chain(lines("Halo A", 10)).chain(lines("last", 5)).collect();
    assert_eq!(echoed, expected);
    assert_eq!(sandbox.sessions()[0].shares, [16]);
    sandbox.assert_clean();
}

/// Whoever may write to the queue could have the worker execute, and count, what nobody submitted.
#[test]
fn a_forged_frame_is_not_executed_beyond_what_was_received() {
    let sandbox = Sandbox::default();
    let [mut balancer, mut worker] = one_by_hand(&sandbox, &["--echo", "1"], "first;1");
    let mut message = Message::boxed();
    let session = sandbox.ledger().unwrap().session();
    let mut forged = begin_frame(&mut message, MESSAGE_LEN_MAX, session, 1);
    forged.push(b"forged", 0, 1, 1, 5).unwrap();
    let len = forged.finish();
    let queue = sandbox.queues()[0];
    queue.try_send(&message, len).unwrap();
    // Behind it, so that it is done with.
    message.kind = 3;
    queue.try_send(&message, 1).unwrap();
    sandbox
        .wait_until("both are taken", || worker.stderr().contains("ignored a message of 1 byte"));
    sandbox.ok("client", &["Halo A;3"]);
    sandbox.wait_until("all is executed", || sandbox.log().matches("Worker1: ").count() == 4);
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut worker);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "first;1\nHalo A;1\nHalo A;2\nHalo A;3\n");
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    assert_eq!(sandbox.sessions()[0].shares, [4]);
    sandbox.assert_clean();
}
