//! What kills at chosen system calls have found, each as a test of its own; and the tool that found it,
//! end to end. Where a state is too short to be met by a kill, it is made through the product's own code.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::ledger::cursors::Closing;
use common::log::journal::{Accept, Journal};
use rstest::rstest;
use tests::{Binaries, Profile, Sandbox, oracle::canonical_log};

/// Runs what `cargo xtask crash` becomes, with the programs that the other tests use.
fn crash(arguments: &[&str]) -> Output {
    static CRASH: OnceLock<PathBuf> = OnceLock::new();
    let crash = CRASH.get_or_init(|| tests::built(&["-p", "crash"]));
    Command::new(crash)
        .arg("--programs")
        .arg(Binaries::build(Profile::Dev).directory())
        .args(arguments)
        .output()
        .expect("running crash")
}

#[rstest]
#[case::redo_of_worker_lines_took_the_ledger_for_damaged("one-1:worker1:w1:torn-half")]
#[case::bytes_of_a_redo_were_written_again("one-1:client1:w1:torn-half")]
#[case::submission_of_a_killed_client_waited_for_the_next_one("first:client1:w1:torn-half")]
#[case::killed_again_while_it_recovers("one-1:client1:w1:entry+balancer:w1:torn-1")]
fn recovers_from(#[case] point: &str) {
    let replayed = crash(&["--replay", point]);
    let stdout = String::from_utf8_lossy(&replayed.stdout);
    assert!(replayed.status.success(), "{replayed:#?}");
    assert!(stdout.contains("inside a transaction"), "{point} was blind: {replayed:#?}");
}

#[rstest]
#[case::no_call_of_that_number("one-1:client1:100000:entry")]
#[case::not_so_many_of_that_name("one-1:client1:openat#1000:EMFILE")]
fn a_point_that_is_never_reached_is_no_success(#[case] point: &str) {
    let replayed = crash(&["--replay", point]);
    assert_eq!(replayed.status.code(), Some(4), "{replayed:#?}");
}

#[rstest]
#[case::no_call("one-1:client1:nosuch#1:EACCES")]
#[case::counted_from_1("one-1:client1:openat#0:EACCES")]
#[case::no_error("one-1:client1:openat#1:ENOSUCH")]
#[case::not_an_error_of_this_call("one-1:client1:openat#1:EIDRM")]
#[case::nobody_recovers_from_it("one-1:client1:openat#1:EACCES+balancer:1:entry")]
fn a_bad_point_is_refused(#[case] point: &str) {
    let refused = crash(&["--replay", point]);
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
}

#[rstest]
#[case::of_no_seed(&["--flips", "--round", "1"])]
#[case::of_nothing(&["--sample"])]
#[case::no_rounds(&["--seed", "1"])]
#[case::no_limits(&["--storm-for", "1s"])]
#[case::no_points(&["--removed", "--jobs", "1"])]
#[case::two_tools(&["--errors", "--replay", "one-1:client1:openat#1:EACCES"])]
fn what_would_do_nothing_is_refused(#[case] arguments: &[&str]) {
    let refused = crash(arguments);
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
}

/// Whatever the product does with the error, the tool sees that it came, and that all ends well.
#[rstest]
#[case::client_before_it_has_anything("one-1:client1:openat#1:EMFILE")]
#[case::client_has_no_room("one-1:client1:w1:ENOSPC")]
#[case::balancer_cannot_open_the_log("one-1:balancer:openat#2:ENOMEM")]
#[case::spawned_worker("one-1:worker1:openat#1:EACCES")]
#[case::worker_by_hand("hand:worker1:openat#1:EACCES")]
fn a_failing_call_is_survived(#[case] point: &str) {
    let replayed = crash(&["--replay", point]);
    let stdout = String::from_utf8_lossy(&replayed.stdout);
    assert!(replayed.status.success(), "{replayed:#?}");
    assert!(stdout.contains("has failed with"), "{point}: {replayed:#?}");
}

fn worker(number: u32) -> WorkerId {
    WorkerId::new(number).expect("a worker number")
}

/// Plays a whole session of one worker and one message up to its closing, also beside others who take the
/// log's lock.
fn close_session(instance: &Instance) -> Journal<'_> {
    let submission = Submission::parse(b"Halo A;1").expect("a submission");
    let mut journal = loop {
        match Journal::submit(instance, std::slice::from_ref(&submission), false) {
            Ok((journal, Accept::Accepted(1))) => break journal,
            other => drop(other.expect("accepting")),
        }
    };
    journal.set_workers(Workers::new(1).expect("a number of workers")).expect("setting N");
    journal.ledger().set_received(1);
    journal.ledger().cell(worker(1)).set_executed(1);
    while !journal.cursors().expect("the cursors").all_logged() {
        journal.advance().expect("logging");
    }
    while !journal.try_close(Closing::Ends, |_, _| Ok(true)).expect("closing") {}
    journal
}

/// The same, up to the last total.
fn finish_session(instance: &Instance) -> Journal<'_> {
    let mut journal = close_session(instance);
    journal.ledger().cell(worker(1)).set_done();
    while !journal.cursors().expect("the cursors").is_ended() {
        journal.advance().expect("logging");
    }
    journal
}

fn instance(sandbox: &Sandbox) -> Instance {
    Instance::open(&sandbox.dir()).expect("the directory")
}

/// Killed between the totals and the removal.
#[test]
fn what_is_left_of_an_ended_session_is_removed() {
    let sandbox = Sandbox::default();
    drop(finish_session(&instance(&sandbox)));
    let ended = sandbox.ok("loadbalancer", &["1"]);
    assert!(ended.stderr.contains("was complete; removed"), "{ended:#?}");
    assert_eq!(sandbox.log(), canonical_log(&[("Halo A", 1)], 1), "{}", sandbox.report());
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
        drop(close_session(&instance(&sandbox)));
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
    let (one, other) = (instance(&sandbox), instance(&sandbox));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2000 {
                finish_session(&one).remove_objects().expect("removing");
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            Journal::open(&other, false).expect("a session, or none");
        }
    });
    sandbox.assert_clean();
}

/// The ledger names a queue that is not there, while the worker sleeps in its own.
#[test]
fn a_worker_whose_queue_is_not_the_one_in_the_ledger_makes_another() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;1"]);
    let mut by_hand = sandbox.start("worker", &["1"]);
    let ledger = sandbox.ledger().unwrap();
    sandbox.wait_until("the worker has a queue", || ledger.cell(worker(1)).queue().0 == 1);
    ledger.cell(worker(1)).set_queue(-1);
    sandbox.ok("loadbalancer", &["--no-spawn", "1"]);
    let ended = sandbox.end(&mut by_hand);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.log(), canonical_log(&[("Halo A", 1)], 1), "{}", sandbox.report());
    sandbox.assert_clean();
}
