//! What the next start makes of an unfinished session: resumed, refused, or set aside.
#![forbid(unsafe_code)]

use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::ledger::cursors::{Closing, Cursors};
use common::log::advance::Advance;
use common::log::journal::Journal;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::Sandbox;
use tests::oracle::canonical_log;

const SAMPLE: &str = include_str!("sample.log");

/// A session of 3 workers whose balancer was killed when only workers 1 and 2 had come.
fn unfinished() -> Sandbox {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let _workers = ["1", "2"].map(|k| sandbox.start("worker", &[k]));
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    sandbox.wait_for_log(SAMPLE.find("Worker3:").unwrap() as u64);
    balancer.kill();
    sandbox
}

fn remove_ipc_objects(sandbox: &Sandbox) {
    for object in sandbox.ipc_objects() {
        object.remove();
    }
}

/// The log was renamed as it was, and nothing else is left but the new one.
fn assert_set_aside(sandbox: &Sandbox, before: &str) {
    let aside = sandbox.dir().join("sistem.log.1");
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), before);
    std::fs::remove_file(aside).unwrap();
    sandbox.assert_clean();
}

#[test]
fn the_same_n_finishes_it() {
    let sandbox = unfinished();
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

#[rstest]
fn another_n_is_refused_and_told_the_right_one(#[values("1", "2", "4", "256")] n: &str) {
    let sandbox = unfinished();
    let before = sandbox.log();
    let ended = sandbox.run("loadbalancer", &[n]);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains("finish it with `loadbalancer 3`"), "{ended:#?}");
    assert!(ended.stderr.contains(&format!("`loadbalancer --fresh {n}`")), "{ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    assert_eq!(sandbox.log(), before);
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

/// Before the first message was taken, nothing depends on N.
#[test]
fn another_n_is_fine_while_nothing_was_submitted() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["5"]);
    sandbox.wait_until("its workers run", || sandbox.has_worker(5));
    balancer.kill();
    sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

#[rstest]
fn fresh_sets_it_aside(#[values(false, true)] ipc_objects_are_gone: bool) {
    let sandbox = unfinished();
    let before = sandbox.log();
    if ipc_objects_are_gone {
        remove_ipc_objects(&sandbox);
    }
    let mut balancer = sandbox.start("loadbalancer", &["--fresh", "2"]);
    sandbox.wait_until("it says so", || {
        balancer.stderr().contains("the unfinished session is now in ./sistem.log.1")
    });
    sandbox.ok("client", &["Halo B;5"]);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&canonical_log(&[("Halo B", 5)], 2));
    assert_set_aside(&sandbox, &before);
}

#[test]
fn fresh_sets_nothing_aside_when_all_is_done() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["3"]);
    let mut balancer = sandbox.start("loadbalancer", &["--fresh", "3"]);
    sandbox.wait_until("it runs", || sandbox.has_worker(3));
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&SAMPLE.repeat(2));
    sandbox.assert_clean();
}

/// They ended with an error instead, with the advice to put the renamed log back.
#[test]
fn workers_by_hand_did_not_outlive_a_fresh_start() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    let mut workers = ["1", "2"].map(|k| sandbox.start("worker", &[k]));
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.wait_for_log(SAMPLE.find("Worker3:").unwrap() as u64);
    balancer.kill();
    let before = sandbox.log();
    let mut balancer = sandbox.start("loadbalancer", &["--fresh", "--no-spawn", "2"]);
    // Before that, they are seen beside the log that is set aside.
    sandbox.wait_until("it is set aside", || balancer.stderr().contains("is now in"));
    sandbox.wait_until("the new session runs", || sandbox.has_worker(1) && sandbox.has_worker(2));
    sandbox.ok("client", &["again;5"]);
    for process in std::iter::once(&mut balancer).chain(&mut workers) {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
        assert!(!ended.stderr.contains("put it back"), "{ended:#?}");
    }
    sandbox.assert_log(&canonical_log(&[("again", 5)], 2));
    assert_set_aside(&sandbox, &before);
}

/// As after a reboot: nothing but the log is left.
#[test]
fn the_log_alone_is_enough() {
    let sandbox = unfinished();
    remove_ipc_objects(&sandbox);
    let ended = sandbox.ok("loadbalancer", &["3"]);
    assert!(ended.stderr.contains("resuming the session in sistem.log"), "{ended:#?}");
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

/// The log cut anywhere, in lines and between them, and no IPC object.
#[test]
fn the_log_alone_is_enough_wherever_it_ends() {
    let earlier = canonical_log(&[("earlier", 3)], 2);
    let both_client_lines = SAMPLE.find("Received").unwrap();
    let cuts = (both_client_lines..SAMPLE.len()).step_by(29).chain([SAMPLE.len() - 1]);
    for cut in cuts {
        let sandbox = Sandbox::default();
        std::fs::write(sandbox.log_path(), format!("{earlier}{}", &SAMPLE[..cut])).unwrap();
        sandbox.ok("loadbalancer", &["3"]);
        sandbox.assert_log(&format!("{earlier}{SAMPLE}"));
        sandbox.assert_clean();
    }
}

/// Without IPC objects the N of the log is found out from the turn.
#[test]
fn another_n_is_refused_from_the_log_alone() {
    let sandbox = Sandbox::default();
    let cut = SAMPLE.rfind("Worker1: ").unwrap();
    std::fs::write(sandbox.log_path(), &SAMPLE[..cut]).unwrap();
    for n in ["2", "4"] {
        let ended = sandbox.run("loadbalancer", &[n]);
        sandbox.assert_code(&ended, 2);
        assert!(ended.stderr.contains("finish it with `loadbalancer 3`"), "{ended:#?}");
    }
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

/// The client's lines were cut: it never got `accepted`.
#[test]
fn half_a_submission_never_happened() {
    let lines = SAMPLE.find("Received").unwrap();
    for cut in 1..lines {
        let sandbox = Sandbox::default();
        std::fs::write(sandbox.log_path(), &SAMPLE[..cut]).unwrap();
        sandbox.ok("client", &["Halo A;10"]);
        assert_eq!(sandbox.log(), SAMPLE[..lines], "cut at {cut}");
    }
}

/// The first workers' totals look like the end of a session that had no more workers; but the ledger knows that
/// whoever wrote them was killed inside the write.
#[test]
fn fresh_took_a_session_cut_between_its_totals_for_finished() {
    let sandbox = Sandbox::default();
    let instance = Instance::open(&sandbox.dir()).unwrap();
    let first = [Submission::parse(b"x;1").unwrap()];
    let mut journal = Journal::submit(&instance, &first, false).unwrap().0;
    journal.set_workers(Workers::new(3).unwrap()).unwrap();
    journal.ledger().set_received(1);
    journal.ledger().cell(WorkerId::new(1).unwrap()).set_executed(1);
    while journal.advance().unwrap() == Advance::Wrote {}
    assert!(journal.try_close(Closing::Ends, |_, _| Ok(true)).unwrap());
    let (at, log_len) = (journal.cursors().unwrap(), canonical_log(&[("x", 1)], 3).len() as u64);
    journal.ledger().commit(&Cursors { totals: 3, log_len, ..at });
    drop(journal);
    let before = canonical_log(&[("x", 1)], 1);
    std::fs::write(sandbox.log_path(), &before).unwrap();

    let mut balancer = sandbox.start("loadbalancer", &["--fresh", "3"]);
    sandbox.wait_until("it runs", || sandbox.has_worker(3));
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert!(ended.stderr.contains("is now in ./sistem.log.1"), "{ended:#?}");
    assert_set_aside(&sandbox, &before);
}

/// Half a total shows that there were more workers than totals, however few messages they had.
#[test]
fn fewer_workers_than_totals_made_the_ledger_unusable() {
    let sandbox = Sandbox::default();
    let log = canonical_log(&[("x", 2)], 4);
    let cut = log.find("Worker 4: ").unwrap() + 5;
    for n in ["1", "2", "3"] {
        std::fs::write(sandbox.log_path(), &log[..cut]).unwrap();
        remove_ipc_objects(&sandbox);
        let ended = sandbox.run("loadbalancer", &[n]);
        sandbox.assert_code(&ended, 2);
        assert!(ended.stderr.contains("with `loadbalancer 4`"), "{ended:#?}");
    }
    sandbox.ok("loadbalancer", &["4"]);
    sandbox.assert_log(&log);
    sandbox.assert_clean();
}
