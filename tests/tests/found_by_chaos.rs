//! What `cargo xtask crash --random` and `--limits` found, each reduced to the shortest way to it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::fence::shared_memory;
use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::instance::objects;
use common::instance::role::Role;
use common::ledger::cursors::{Closing, Cursors};
use common::log::journal::{Accept, Journal};
use common::queue;
use common::session::begin::Opened;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::Sandbox;

/// A balancer died inside a transaction. The next one appended what was missing; and since its
/// renderer still held these lines, once more when it closed the session.
#[test]
fn a_redone_transaction_is_not_appended_again_by_the_next_one() {
    let sandbox = Sandbox::default();
    let instance = Instance::open(&sandbox.dir()).unwrap();
    let mut journal = begin(&instance, b"a;2");
    journal.set_workers(Workers::new(1).unwrap()).unwrap();
    journal.ledger().set_received(2);
    let lines = "Received at lb: a (#message 1)\nReceived at lb: a (#message 2)\n";
    let at = journal.cursors().unwrap();
    let log_len = at.log_len + lines.len() as u64;
    journal.ledger().commit(&Cursors { log_len, line: 2, ..at });
    drop(journal);

    let Opened::Session(mut next, false) = Journal::open(&instance, false).unwrap() else {
        panic!("no session{}", sandbox.report())
    };
    next.try_close(Closing::Ends, |_, _| Ok(true)).unwrap();
    let expected = format!("Message from client: a\nMessage count: 2\n{lines}");
    assert_eq!(sandbox.log(), expected);
    assert_eq!(next.cursors().unwrap().closing, 1);
    shared_memory::remove(next.ledger().segment_id()).unwrap();
}

/// Begins a session with one submission.
fn begin<'a>(instance: &'a Instance, submission: &[u8]) -> Journal<'a> {
    let submission = Submission::parse(submission).unwrap();
    let (journal, accepted) = Journal::submit(instance, &[submission], false).unwrap();
    assert_eq!(accepted, Accept::Accepted(1));
    journal
}

/// A worker was stopped before it noticed its queue, and the balancer killed. The next balancer made a
/// queue for the worker's next life, for which this life waited for ever. (Today the queue is the worker's.)
#[test]
fn a_worker_that_slept_through_a_balancer_executes_all_once() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;5"]);
    let mut worker = sandbox.start("worker", &["--echo", "1"]);
    sandbox.wait_until("the worker has a queue", || !sandbox.queues().is_empty());
    sandbox.stop(worker.pid());
    let frames = || -> u64 {
        let load = |queue| queue::load(queue, sandbox.mark()).map_or(0, |load| load.messages);
        sandbox.queues().into_iter().map(load).sum()
    };
    let mut first = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("the first balancer has sent", || frames() == 1);
    first.kill();
    let mut second = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("the second balancer has sent", || frames() == 2);
    worker.signal(Signal::SIGCONT);
    for process in [&mut second, &mut worker] {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    assert_eq!(worker.stdout(), "a;1\na;2\na;3\na;4\na;5\n");
    sandbox.assert_clean();
}

/// The worker wrote the totals, a client removed what was left of the session and began the next one,
/// and the balancer took that for a loss: "the session has ended".
#[test]
fn a_balancer_whose_ended_session_a_client_removed_has_ended_well() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["first;1"]);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    // This test is the worker, and so says when the session ends.
    let worker = WorkerId::new(1).unwrap();
    let instance = Instance::open(&sandbox.dir()).unwrap();
    instance.hold(Role::Worker(worker)).unwrap();
    let ledger = objects::find_ledger(instance.directory()).unwrap().unwrap();
    let mut journal = Journal::of(&instance, ledger, false);
    sandbox.wait_until("the message is received", || journal.ledger().received() == 1);
    journal.ledger().cell(worker).set_executed(1);
    journal.ledger().doorbell().ring();
    sandbox.wait_until("the session is closing", || {
        journal.advance().unwrap();
        journal.cursors().unwrap().is_closing()
    });
    sandbox.stop(balancer.pid());
    journal.ledger().cell(worker).set_done();
    sandbox.wait_until("the total is written", || {
        journal.advance().unwrap();
        journal.cursors().unwrap().is_ended()
    });
    sandbox.ok("client", &["second;1"]);
    balancer.signal(Signal::SIGCONT);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    drop(journal);
    drop(instance);
    sandbox.ok("loadbalancer", &["1"]);
    assert_eq!(sandbox.log().matches("Worker 1: 1 messages\n").count(), 2);
    sandbox.assert_clean();
}

/// Looking for work, a process read the two transaction counters one after the other, without the lock:
/// where others finished two transactions in between, the ledger seemed damaged, and the process ended.
#[test]
fn a_look_for_work_beside_busy_writers_took_the_ledger_for_damaged() {
    let sandbox = Sandbox::default();
    let instance = Instance::open(&sandbox.dir()).unwrap();
    let writer = begin(&instance, b"a;1");
    let ledger = objects::find_ledger(instance.directory()).unwrap().unwrap();
    let mut reader = Journal::of(&instance, ledger, false);
    let at = writer.cursors().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for log_len in 0..300_000 {
                writer.ledger().commit(&Cursors { log_len, ..at });
                // As if something were written.
                (0..100).for_each(|_| std::hint::spin_loop());
                writer.ledger().finish();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            reader.ready().expect("a ledger that is as it should be");
        }
    });
    shared_memory::remove(reader.ledger().segment_id()).unwrap();
}

/// `eprintln!` panics when it cannot write, so a report ended the program that made it: on a full disk,
/// for example, with standard error in a file there.
#[rstest]
#[case::client("client", &["no separator"], 2)]
#[case::balancer("loadbalancer", &["--worker-program", "/bin/false", "1"], 3)]
#[case::worker("worker", &["--dir", "/nowhere", "1"], 3)]
fn a_report_that_cannot_be_written_stops_nothing(
    #[case] program: &str,
    #[case] args: &[&str],
    #[case] code: i32,
) {
    let sandbox = Sandbox::default();
    let mut command = sandbox.command(program, args);
    command.stderr(std::fs::File::create("/dev/full").unwrap());
    assert_eq!(command.status().unwrap().code(), Some(code), "{}", sandbox.report());
}
