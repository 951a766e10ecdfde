//! What `cargo xtask crash --random` and `--limits` found, each reduced to the shortest way to it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::cursors::Cursors;
use common::fence::shared_memory;
use common::instance::Instance;
use common::journal::{Accept, Journal};
use common::role::Role;
use common::rotation::{WorkerId, Workers};
use common::submission::Submission;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::{IpcObject, Sandbox};

/// A balancer died inside a transaction. The next one appended what was missing; and since its
/// renderer still held these lines, once more when it closed the session.
#[test]
fn a_redone_transaction_is_not_appended_again_by_the_next_one() {
    let sandbox = Sandbox::default();
    let open = || Journal::open(Instance::open(&sandbox.dir()).unwrap()).unwrap().0;
    let mut journal = open();
    journal.set_workers(Workers::new(1).unwrap()).unwrap();
    let accepted = journal.accept(&[Submission::parse(b"a;2").unwrap()]).unwrap();
    assert_eq!(accepted, Accept::Accepted(1));
    journal.ledger().set_received(2);
    let lines = "Received at lb: a (#message 1)\nReceived at lb: a (#message 2)\n";
    let at = journal.cursors().unwrap();
    let log_len = at.log_len + lines.len() as u64;
    journal.ledger().commit(&Cursors { log_len, line: 2, ..at });
    drop(journal);

    let mut next = open();
    next.try_close(|_, _| Ok(true)).unwrap();
    let expected = format!("Message from client: a\nMessage count: 2\n{lines}");
    assert_eq!(sandbox.log(), expected);
    assert_eq!(next.cursors().unwrap().closing, 1);
    shared_memory::remove(next.ledger().segment_id()).unwrap();
}

/// A worker was stopped before it noticed its queue, and the balancer killed. The next balancer made a
/// queue for the worker's next life, for which this life waited for ever.
#[test]
fn a_worker_that_slept_through_a_balancer_takes_the_next_ones_queue() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;5"]);
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("the worker waits for a queue", || sleeps(worker.pid()));
    sandbox.stop(worker.pid());
    let queues = || -> Vec<IpcObject> {
        let objects = sandbox.ipc_objects().into_iter();
        objects.filter(|object| matches!(object, IpcObject::Queue { .. })).collect()
    };
    let mut first = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("the first balancer's queue", || !queues().is_empty());
    let first_queues = queues();
    // It has told the worker of its queue when it sleeps.
    sandbox.wait_until("the first balancer sleeps", || sleeps(first.pid()));
    first.kill();
    let mut second = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("the second balancer's queue", || {
        !queues().is_empty() && queues() != first_queues
    });
    sandbox.wait_until("the second balancer sleeps", || sleeps(second.pid()));
    worker.signal(Signal::SIGCONT);
    for process in [&mut second, &mut worker] {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    sandbox.assert_clean();
}

/// The worker wrote the totals, a client removed what was left of the session and began the next one,
/// and the balancer took that for a loss: "the session has ended".
#[test]
fn a_balancer_whose_ended_session_a_client_removed_has_ended_well() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("the ledger is there", || !sandbox.ipc_objects().is_empty());
    // This test is the worker, and so says when the session ends.
    let worker = WorkerId::new(1).unwrap();
    let instance = Instance::open(&sandbox.dir()).unwrap();
    instance.hold(Role::Worker(worker)).unwrap();
    let mut journal = Journal::open(instance).unwrap().0;
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("the message is received", || journal.ledger().received() == 1);
    journal.ledger().set_executed(worker, 1);
    journal.ledger().doorbell().ring();
    sandbox.wait_until("the session is closing", || {
        journal.advance().unwrap();
        journal.cursors().unwrap().closing == 1
    });
    sandbox.stop(balancer.pid());
    journal.ledger().set_finished(worker);
    sandbox.wait_until("the total is written", || {
        journal.advance().unwrap();
        journal.cursors().unwrap().is_ended()
    });
    sandbox.ok("client", &["second;1"]);
    balancer.signal(Signal::SIGCONT);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    drop(journal);
    sandbox.ok("loadbalancer", &["1"]);
    assert_eq!(sandbox.log().matches("Worker 1: 1 messages\n").count(), 2);
    sandbox.assert_clean();
}

/// Looking for work, a process read the two transaction counters one after the other, without the lock:
/// where others finished two transactions in between, the ledger seemed damaged, and the process ended.
#[test]
fn a_look_for_work_beside_busy_writers_took_the_ledger_for_damaged() {
    let sandbox = Sandbox::default();
    let open = || Journal::open(Instance::open(&sandbox.dir()).unwrap()).unwrap().0;
    let (writer, reader) = (open(), open());
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

/// Workers without any work were told to end at the same time. Each one saw the others still there, and
/// so none of them removed the ledger.
#[test]
fn of_workers_that_leave_at_once_the_last_removes_the_ledger() {
    let sandbox = Sandbox::default();
    let ids = [1, 2].map(|k| WorkerId::new(k).unwrap());
    let mut workers = ids.map(|id| sandbox.start("worker", &[&id.to_string()]));
    let instance = Instance::open(&sandbox.dir()).unwrap();
    let holds = |id| instance.is_held_by_another(Role::Worker(id)).unwrap();
    sandbox.wait_until("both wait for a queue", || {
        ids.into_iter().all(holds) && workers.iter().all(|worker| sleeps(worker.pid()))
    });
    // With the log locked, both come to the point where they look for others.
    instance.log().lock().unwrap();
    for worker in &workers {
        worker.signal(Signal::SIGTERM);
    }
    sandbox.wait_until("neither counts as there", || !ids.into_iter().any(holds));
    instance.log().unlock().unwrap();
    for worker in &mut workers {
        sandbox.end(worker);
    }
    sandbox.assert_clean();
}

/// A signal ended a worker that still waited for the log's lock. It looked for nobody, and the other one,
/// which had ended before, had seen it there.
#[test]
fn a_worker_that_was_aborted_at_its_start_left_an_unused_ledger() {
    let sandbox = Sandbox::default();
    let mut first = sandbox.start("worker", &["1"]);
    sandbox.wait_until("it has a ledger, and the lock no more", || {
        !sandbox.ipc_objects().is_empty() && sleeps(first.pid())
    });
    let instance = Instance::open(&sandbox.dir()).unwrap();
    instance.log().lock().unwrap();
    let mut second = sandbox.start("worker", &["2"]);
    sandbox.wait_until("it waits", || second.stderr().contains("has locked sistem.log"));
    first.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut first), 143);
    second.signal(Signal::SIGTERM);
    sandbox.wait_until("it is about to leave", || {
        !sandbox.is_held(Role::Worker(WorkerId::new(2).unwrap()))
    });
    instance.log().unlock().unwrap();
    sandbox.assert_code(&sandbox.end(&mut second), 143);
    sandbox.assert_clean();
}

/// A worker without any work ended beside a process that was about to end itself, in another way, and
/// looked for nobody. So each of them left the ledger to the other one.
#[test]
fn whoever_ends_last_removes_a_ledger_that_was_never_used() {
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("the worker waits for a queue", || sleeps(worker.pid()));
    let mut client = sandbox.start_with_pipe("client", &[]);
    sandbox.wait_until("the client has its role", || sandbox.is_held(Role::Client));
    worker.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut worker), 143);
    assert!(sandbox.segment().is_some(), "the client may begin this session");
    drop(client.take_stdin());
    sandbox.assert_code(&sandbox.end(&mut client), 0);
    sandbox.assert_clean();
}

/// Whether a process sleeps on a futex.
fn sleeps(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at.contains("futex"))
}
