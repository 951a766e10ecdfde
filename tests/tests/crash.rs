//! What kills at chosen system calls have found, each as a test of its own; and the tool that found it,
//! end to end. Where a state is too short to be met by a kill, it is made through the product's own code.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::error::Error;
use common::instance::Instance;
use common::journal::{Advance, Journal};
use common::ledger::Ledger;
use common::role::Role;
use common::rotation::{WorkerId, Workers};
use common::session;
use common::submission::Submission;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::{Binaries, Profile, Sandbox, oracle::canonical_log};

/// Calls `cargo xtask crash` with the programs that the other tests use.
fn xtask_crash(arguments: &[&str]) -> Output {
    static XTASK: OnceLock<std::path::PathBuf> = OnceLock::new();
    let xtask = XTASK.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let build =
            escargot::CargoBuild::new().manifest_path(manifest).package("xtask").bin("xtask");
        build.run().expect("building xtask").path().to_owned()
    });
    let programs = Binaries::build(Profile::Dev).path("client");
    Command::new(xtask)
        .arg("crash")
        .arg("--programs")
        .arg(programs.parent().expect("a program is in a directory"))
        .args(arguments)
        .output()
        .expect("running xtask")
}

#[rstest]
#[case::redo_of_worker_lines_took_the_ledger_for_damaged("one-1:worker1:w1:torn-half")]
#[case::bytes_of_a_redo_were_written_again("one-1:client1:w1:torn-half")]
#[case::submission_of_a_killed_client_waited_for_the_next_one("first:client1:w1:torn-half")]
#[case::killed_again_while_it_recovers("one-1:client1:w1:entry+balancer:w1:torn-1")]
fn recovers_from(#[case] point: &str) {
    let replayed = xtask_crash(&["--replay", point]);
    let stdout = String::from_utf8_lossy(&replayed.stdout);
    assert!(replayed.status.success(), "{replayed:#?}");
    assert!(stdout.contains("inside a transaction"), "{point} was blind: {replayed:#?}");
}

#[test]
fn a_point_that_is_never_reached_is_no_success() {
    let replayed = xtask_crash(&["--replay", "one-1:client1:100000:entry"]);
    assert_eq!(replayed.status.code(), Some(4), "{replayed:#?}");
}

fn worker(number: u32) -> WorkerId {
    WorkerId::new(number).expect("a worker number")
}

/// Plays the whole session of one worker and one message in the ledger, up to the last total.
fn finish_session(journal: &mut Journal) {
    let workers = Workers::new(1).expect("a number of workers");
    journal.set_workers(workers).expect("setting N");
    journal.ledger().set_received(1);
    assert_eq!(journal.advance().expect("logging"), Advance::Wrote);
    journal.ledger().set_executed(worker(1), 1);
    assert_eq!(journal.advance().expect("logging"), Advance::Wrote);
    assert!(journal.try_close(|_, _| Ok(true)).expect("closing"));
    journal.ledger().set_finished(worker(1));
    assert_eq!(journal.advance().expect("logging"), Advance::Wrote);
    assert!(journal.cursors().expect("the cursors").is_ended());
}

/// Plays a whole session up to its closing, also beside others who take the log's lock.
fn close_session(journal: &mut Journal) {
    let submission = Submission::parse(b"Halo A;1").expect("a submission");
    journal.accept(&[submission]).expect("accepting");
    journal.set_workers(Workers::new(1).expect("a number of workers")).expect("setting N");
    journal.ledger().set_received(1);
    journal.ledger().set_executed(worker(1), 1);
    while !journal.cursors().expect("the cursors").all_logged() {
        journal.advance().expect("logging");
    }
    while !journal.try_close(|_, _| Ok(true)).expect("closing") {}
}

fn open(sandbox: &Sandbox) -> Journal {
    Journal::open(Instance::open(&sandbox.dir()).expect("the directory")).expect("a session").0
}

/// Killed between the totals and the removal, with a worker that takes a moment to die.
#[test]
fn an_empty_ledger_stayed_while_the_dead_balancers_workers_were_dying() {
    let sandbox = Sandbox::default();
    let mut journal = open(&sandbox);
    journal.accept(&[Submission::parse(b"Halo A;1").expect("a submission")]).expect("accepting");
    finish_session(&mut journal);
    drop(journal);
    let dying = Instance::open(&sandbox.dir()).expect("the directory");
    dying.hold(Role::Worker(worker(1))).expect("the role");

    let start = Instant::now();
    let mut balancer = sandbox.start("loadbalancer", &["1"]);
    sandbox.wait_until("the remains are found", || balancer.stderr().contains("was complete"));
    let early = balancer.wait(Duration::from_millis(100));
    dying.release(Role::Worker(worker(1))).expect("the role");
    if start.elapsed() > Duration::from_secs(2) {
        return; // this test was not scheduled for long: nobody waits for ever for the dying
    }
    assert!(early.is_none(), "it left the ledger behind");
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.log(), canonical_log(&[("Halo A", 1)], 1), "{}", sandbox.report());
    sandbox.assert_clean();
}

/// The same, where the next balancer was asked to drain before it had anything to do.
#[test]
fn an_unused_ledger_stayed_after_a_drain_beside_the_dying() {
    let sandbox = Sandbox::default();
    let dying = Instance::open(&sandbox.dir()).expect("the directory");
    dying.hold(Role::Worker(worker(1))).expect("the role");
    let start = Instant::now();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "1"]);
    sandbox.wait_until("it has made a queue", || !sandbox.queues().is_empty());
    balancer.signal(Signal::SIGTERM);
    let early = balancer.wait(Duration::from_millis(100));
    dying.release(Role::Worker(worker(1))).expect("the role");
    if start.elapsed() > Duration::from_secs(2) {
        return; // not scheduled for long, as above
    }
    assert!(early.is_none(), "it left the ledger behind");
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_clean();
}

/// A balancer whose workers are dead made their totals ready itself, and slept a second before it wrote
/// them.
#[test]
fn the_totals_of_dead_workers_were_slept_upon() {
    let sandbox = Sandbox::default();
    let mut quickest = Duration::MAX;
    // The quickest of some, since a busy machine only ever adds to it.
    for _ in 0..5 {
        close_session(&mut open(&sandbox));
        let start = Instant::now();
        sandbox.ok("loadbalancer", &["1"]);
        quickest = quickest.min(start.elapsed());
    }
    assert!(quickest < Duration::from_millis(700), "{quickest:?}, as long as the longest sleep");
    assert_eq!(sandbox.sessions().len(), 5);
    sandbox.assert_clean();
}

/// Whoever opens a session let the lock go between attaching it and looking for what is pending; where
/// others ended and removed it in between, a worker or a balancer that had just been started failed.
#[test]
fn a_session_that_ended_while_it_was_being_opened_was_an_error() {
    let sandbox = Sandbox::default();
    let dir = sandbox.dir();
    let open = || Journal::open(Instance::open(&dir).expect("the directory")).expect("a session").0;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2000 {
                let mut journal = open();
                close_session(&mut journal);
                journal.ledger().set_finished(worker(1));
                while !journal.cursors().expect("the cursors").is_ended() {
                    journal.advance().expect("logging");
                }
                match journal.remove_objects() {
                    Ok(()) | Err(Error::SessionEnded) => {} // or the other one was quicker
                    Err(error) => panic!("removing: {error}"),
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            open();
        }
    });
    let instance = Instance::open(&dir).expect("the directory");
    assert!(session::leave(&instance, Role::Client).expect("removing"));
    sandbox.assert_clean();
}

/// A worker that is started again between the totals and the removal cleans up, as everyone does who
/// finds an ended session.
#[test]
fn a_balancer_failed_because_a_late_worker_had_cleaned_up() {
    let sandbox = Sandbox::default();
    let by_hand = Instance::open(&sandbox.dir()).expect("the directory");
    by_hand.hold(Role::Worker(worker(1))).expect("the role");
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("the ledger is there", || !sandbox.ipc_objects().is_empty());
    sandbox.ok("client", &["Halo A;1"]);
    let mut journal = open(&sandbox);
    sandbox.wait_until("the message is taken", || journal.ledger().received() == 1);
    sandbox.stop(balancer.pid());
    // It may have logged the first line before.
    let _ = journal.advance().expect("logging");
    journal.ledger().set_executed(worker(1), 1);
    while journal.advance().expect("logging") == Advance::Wrote {}
    assert!(journal.try_close(|_, _| Ok(true)).expect("closing"));
    journal.ledger().set_finished(worker(1));
    while journal.advance().expect("logging") == Advance::Wrote {}
    drop(journal);
    // The late worker: it removes the ended session, and goes when nobody comes.
    let late = open(&sandbox);
    by_hand.release(Role::Worker(worker(1))).expect("the role");
    balancer.signal(Signal::SIGCONT);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    let left = late.leave(Role::Worker(worker(1)), Ok(0));
    assert_eq!(left.expect("removing"), 0, "{}", sandbox.report());
    assert_eq!(sandbox.log(), canonical_log(&[("Halo A", 1)], 1), "{}", sandbox.report());
    sandbox.assert_clean();
}

/// A balancer killed after it gave a life its queue, and before the worker saw it.
#[test]
fn a_worker_waited_for_the_queue_of_a_life_that_was_over() {
    let sandbox = Sandbox::default();
    let mut by_hand = sandbox.start("worker", &["1"]);
    sandbox.wait_until("the ledger is there", || !sandbox.ipc_objects().is_empty());
    let journal = open(&sandbox);
    let ledger: &Ledger = journal.ledger();
    sandbox.wait_until("the worker begins a life", || ledger.generations(worker(1)).0 == 1);
    // Without a ring, as if killed before it: no such queue is there any more.
    ledger.set_queue(worker(1), 1, -1);
    drop(journal);
    sandbox.ok("client", &["Halo A;1"]);
    sandbox.ok("loadbalancer", &["--no-spawn", "1"]);
    let ended = sandbox.end(&mut by_hand);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.log(), canonical_log(&[("Halo A", 1)], 1), "{}", sandbox.report());
    sandbox.assert_clean();
}
