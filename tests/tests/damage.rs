//! A damaged ledger: anything at all in its words, while a session is unfinished. Refused with an error,
//! or the log comes out right; never a crash, a hang, or another log.
#![forbid(unsafe_code)]

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rstest::rstest;
use tests::Sandbox;
use tests::oracle::canonical_log;

const SUBMISSIONS: [(&str, u32); 2] = [("Halo A", 10), ("another text", 5)];
/// Offsets of `common::ledger::layout`: the head, the first cells, the beginning of the ring.
const HEAD: usize = 512;
const CELLS: usize = HEAD + 4 * 64;
const RING: usize = 16_896;

/// A session whose balancer was killed while it waited for worker 3.
fn unfinished() -> (Sandbox, i32) {
    let sandbox = Sandbox::default();
    sandbox.ok(
        "client",
        &SUBMISSIONS.map(|(text, count)| format!("{text};{count}")).each_ref().map(String::as_str),
    );
    let mut workers = ["1", "2"].map(|k| sandbox.start("worker", &[k]));
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    let until_then = canonical_log(&SUBMISSIONS, 3).find("Worker3:").unwrap() as u64;
    sandbox.wait_for_log(until_then);
    balancer.kill();
    workers.iter_mut().for_each(tests::Process::kill);
    let segment = sandbox.segment().unwrap();
    (sandbox, segment)
}

/// The next start finishes the session, or refuses it. Either way it ends by itself.
fn assert_finished_or_refused(sandbox: &Sandbox, damage: &str) {
    let before = sandbox.log();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    let Some(ended) = balancer.wait(Duration::from_secs(30)) else {
        panic!("{damage}: it hangs{}", sandbox.report());
    };
    assert!(!ended.stderr.contains("panicked"), "{damage}: {ended:#?}");
    match ended.status.code() {
        Some(0) => assert_eq!(sandbox.log(), canonical_log(&SUBMISSIONS, 3), "{damage}"),
        Some(2 | 3) => {
            assert!(ended.stderr.contains("loadbalancer: "), "{damage}: {ended:#?}");
            let log = sandbox.log();
            assert!(log.starts_with(&before), "{damage}: {log}");
            assert!(canonical_log(&SUBMISSIONS, 3).starts_with(&log), "{damage}: {log}");
        }
        code => panic!("{damage}: {code:?} {ended:#?}"),
    }
}

/// Random bytes, at random places.
#[rstest]
fn random_bytes(#[values(1, 2, 3, 4)] seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for round in 0..10 {
        let (sandbox, segment) = unfinished();
        let mut bytes = vec![0; rng.random_range(1..=64)];
        rng.fill_bytes(&mut bytes);
        // The head and the first cells, or the ring's beginning.
        let start = if rng.random_bool(0.7) { rng.random_range(0..CELLS) } else { RING };
        let offset = start + rng.random_range(0..16);
        foreign::write_segment(segment, offset, &bytes).unwrap();
        assert_finished_or_refused(
            &sandbox,
            &format!("seed {seed}, round {round}: {bytes:x?} at {offset}"),
        );
    }
}

/// All of it.
#[test]
fn nothing_but_garbage() {
    let (sandbox, segment) = unfinished();
    let mut garbage = foreign::read_segment(segment).unwrap();
    // The magic word stays, or it would be none of ours any more.
    ChaCha8Rng::seed_from_u64(0).fill_bytes(&mut garbage[8..]);
    foreign::write_segment(segment, 0, &garbage).unwrap();
    assert_finished_or_refused(&sandbox, "garbage");
}

/// While everyone is at work. Whatever they make of it, they end by themselves, and the log is the
/// beginning of the right one.
#[rstest]
fn under_a_running_session(#[values(1, 2, 3)] seed: u64) {
    const COUNT: u32 = 300_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let expected = canonical_log(&[("Halo A", COUNT)], 3);
    for round in 0..5 {
        let sandbox = Sandbox::default();
        sandbox.ok("client", &[&format!("Halo A;{COUNT}")]);
        let mut balancer = sandbox.start("loadbalancer", &["3"]);
        sandbox.wait_for_log(1 << 20);
        let Some(segment) = sandbox.segment() else { continue };
        // Not the cells: what a worker says that it has executed is believed.
        let offset = rng.random_range(0..HEAD / 8) * 8;
        let word = rng.next_u64();
        let _ = foreign::write_segment(segment, offset, &word.to_ne_bytes());
        let ended = sandbox.end(&mut balancer);
        let damage = format!("seed {seed}, round {round}: {word:#x} at {offset}: {ended:#?}");
        assert!(!ended.stderr.contains("panicked"), "{damage}");
        assert!(matches!(ended.status.code(), Some(0 | 3)), "{damage}");
        assert!(expected.starts_with(&sandbox.log()), "{damage}");
        assert!(ended.status.code() != Some(0) || sandbox.log() == expected, "{damage}");
    }
}

/// Each word that means something in the head, the first cells and the ring's beginning, one at a time.
#[rstest]
fn a_word_that_says_anything(
    #[values(0, 1, 1 << 31, u64::MAX)] word: u64,
    #[values(0, 1, 2, 3)] quarter: usize,
) {
    let words = [0..92, 128..144, 192..280, 320..408, HEAD..HEAD + 32, 640..672, RING..RING + 40];
    let offsets = words.into_iter().flat_map(|range| range.step_by(8));
    for offset in offsets.filter(|offset| offset / 8 % 4 == quarter) {
        let (sandbox, segment) = unfinished();
        foreign::write_segment(segment, offset, &word.to_ne_bytes()).unwrap();
        assert_finished_or_refused(&sandbox, &format!("{word:#x} at {offset}"));
    }
}

/// A worker's counters say less than is logged to its last line. The balancer panicked, at every start.
#[test]
fn a_worker_that_has_executed_less_than_is_logged_was_a_panic() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["first;6"]);
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "2"]);
    sandbox.wait_until("all is executed", || sandbox.log().matches(": message").count() == 6);
    balancer.kill();
    sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());
    let ledger = sandbox.ledger().unwrap();
    ledger.cell(common::grammar::rotation::WorkerId::new(1).unwrap()).set_executed(1);
    sandbox.ok("client", &["second;4"]);
    let refused = sandbox.run("loadbalancer", &["2"]);
    sandbox.assert_code(&refused, 3);
    let advice = format!("`ipcrm -m {}`", ledger.segment_id());
    assert!(refused.stderr.contains(&advice), "{refused:#?}");
    common::fence::shared_memory::remove(ledger.segment_id()).unwrap();
    drop(ledger);
    sandbox.ok("loadbalancer", &["2"]);
    assert_eq!(sandbox.sessions()[0].shares, [5, 5], "{}", sandbox.report());
    sandbox.assert_clean();
}

/// Workers by hand, of whom one ended over a damaged submission: the balancer asked for it for ever.
#[test]
fn a_balancer_waited_for_a_worker_that_a_damaged_submission_had_ended() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "2"]);
    let mut first = sandbox.start("worker", &["1"]);
    sandbox.ok("client", &["a;4"]);
    let log = canonical_log(&[("a", 4)], 2);
    sandbox.wait_for_log(log.find("Worker2:").unwrap() as u64);
    let segment = sandbox.segment().unwrap();
    let count = foreign::read_segment(segment).unwrap()[RING];
    foreign::write_segment(segment, RING, &[count ^ 8]).unwrap();
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains(&format!("`ipcrm -m {segment}`")), "{ended:#?}");
    common::fence::shared_memory::remove(segment).unwrap();
    first.kill();
    sandbox.ok("loadbalancer", &["2"]);
    sandbox.assert_log(&log);
    sandbox.assert_clean();
}
