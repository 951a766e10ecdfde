//! A client that died between its commit point and its lines, beside a balancer that sleeps: nobody rings
//! for it, and still it is accepted.
#![forbid(unsafe_code)]

use common::cursors::Cursors;
use common::instance::Instance;
use common::journal::Journal;
use common::ledger::Ledger;
use common::line;
use common::submission::Submission;
use tests::Sandbox;

#[test]
fn completes_what_a_dead_client_committed() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["2"]);
    sandbox.wait_until("the workers are there", || [1, 2].iter().all(|&k| sandbox.has_worker(k)));
    // What a client does up to its commit point, and no further.
    let (journal, _) = Journal::open(Instance::open(&sandbox.dir()).unwrap()).unwrap();
    let submission = Submission::parse(b"Halo A;3").unwrap();
    let (at, ledger) = (journal.cursors().unwrap(), journal.ledger());
    let mut lines = Vec::new();
    line::append_submission(&mut lines, &submission);
    ledger.write_submission(at.tail, &submission);
    ledger.commit(&Cursors {
        log_len: at.log_len + lines.len() as u64,
        tail: at.tail + Ledger::record_len(&submission),
        submissions: 1,
        messages: 3,
        ..at
    });
    drop(journal);

    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.sessions()[0].shares, [2, 1], "{}", sandbox.report());
    sandbox.assert_clean();
}
