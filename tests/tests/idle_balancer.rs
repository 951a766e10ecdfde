//! A client that died between its commit point and its lines, beside a balancer that sleeps: nobody rings
//! for it, and still it is accepted.
#![forbid(unsafe_code)]

use common::fence::shared_memory;
use common::grammar::line;
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::instance::directory::KeyOf;
use common::ledger::Ledger;
use common::ledger::cursors::Cursors;
use common::ledger::layout::Layout;
use common::ledger::record::Record;
use common::log::journal::Journal;
use common::session::begin::Opened;
use nix::sys::signal::Signal;
use tests::Sandbox;
use tests::oracle::canonical_log;

fn record_of(submission: &Submission<&str>) -> Record {
    let mut record = Record::default();
    assert!(record.push(submission));
    record
}

/// What a client does for its `Halo A;3` up to its commit point, and no further. Returns how long the log is to be.
fn commit_and_die(sandbox: &Sandbox) -> u64 {
    let instance = Instance::open(&sandbox.dir()).unwrap();
    let Opened::Session(journal, _) = Journal::open(&instance, false).unwrap() else {
        panic!("no session{}", sandbox.report())
    };
    let submission = Submission::parse(b"Halo A;3").unwrap();
    let (at, ledger) = (journal.cursors().unwrap(), journal.ledger());
    let mut lines = Vec::new();
    line::append_submission(&mut lines, &submission);
    let mut record = record_of(&submission);
    ledger.write_record(at.tail, &mut record);
    let log_len = at.log_len + lines.len() as u64;
    let tail = at.tail + record.ring_len();
    ledger.commit(&Cursors { log_len, tail, submissions: 2, messages: 5, ..at });
    log_len
}

#[test]
fn completes_what_a_dead_client_committed() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["first;2"]);
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "2"]);
    let first = canonical_log(&[("first", 2)], 2);
    sandbox.wait_for_log(first.find("Worker 1: ").unwrap() as u64);
    commit_and_die(&sandbox);
    let all = canonical_log(&[("first", 2), ("Halo A", 3)], 2);
    sandbox.wait_for_log(all.find("Worker 1: ").unwrap() as u64);
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.sessions()[0].shares, [3, 2], "{}", sandbox.report());
    sandbox.assert_clean();
}

/// The same, while others wait for a worker that is missing: nobody took the lock any more.
#[test]
fn completes_what_a_dead_client_committed_beside_a_missing_worker() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["first;2"]);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "2"]);
    let mut workers = vec![sandbox.start("worker", &["1"])];
    let first = canonical_log(&[("first", 2)], 2);
    sandbox.wait_for_log(first.find("Worker2: ").unwrap() as u64);
    let log_len = commit_and_die(&sandbox);
    sandbox.wait_for_log(log_len);
    workers.push(sandbox.start("worker", &["2"]));
    for process in workers.iter_mut().chain([&mut balancer]) {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    assert_eq!(sandbox.sessions()[0].shares, [3, 2], "{}", sandbox.report());
    sandbox.assert_clean();
}

/// A client died between its commit point and its lines, before there was anything else: no event in the
/// directory tells of it.
#[test]
fn begins_with_what_a_dead_client_committed() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["2"]);
    sandbox.wait_until("the workers are there", || [1, 2].iter().all(|&k| sandbox.has_worker(k)));
    let instance = Instance::open(&sandbox.dir()).unwrap();
    let submission = Submission::parse(b"Halo A;3").unwrap();
    // Made before, so that the balancer has seen all events when the ledger comes.
    let key = instance.directory().keys(KeyOf::Segment).next().unwrap();
    let id = shared_memory::create(key, size_of::<Layout>(), 0o600).unwrap();
    let ledger = Ledger::attach(id).unwrap();
    let mut lines = Vec::new();
    line::append_submission(&mut lines, &submission);
    {
        let lock = instance.log().lock();
        ledger.lay_out(1, &instance.identity(), b"", &Cursors::default());
        let mut record = record_of(&submission);
        ledger.write_record(0, &mut record);
        ledger.commit(&Cursors {
            log_len: lines.len() as u64,
            tail: record.ring_len(),
            submissions: 1,
            messages: 3,
            ..Cursors::default()
        });
        lock.and_then(|()| instance.log().unlock()).unwrap();
    }
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(&canonical_log(&[("Halo A", 3)], 2));
    sandbox.assert_clean();
}
