//! Objects of others under our keys: stepped over, left as they were, and the sample comes out right.
#![forbid(unsafe_code)]

use common::fence::message_queue::{Message, MessageQueue};
use common::fence::{foreign, shared_memory};
use common::instance::{Directory, Instance, KeyOf};
use common::journal::Journal;
use common::layout::Layout;
use common::rotation::WorkerId;
use rstest::rstest;
use tests::{IpcObject, Sandbox};

const SAMPLE: &str = include_str!("sample.log");
const SIZE: usize = size_of::<Layout>();
const NOBODY: u32 = 65534;

fn keys(sandbox: &Sandbox, of: KeyOf) -> Vec<i32> {
    Directory::open(&sandbox.dir()).unwrap().keys(of).collect()
}

fn run_the_sample(sandbox: &Sandbox) {
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can give an IPC object to another user");
    }
    root
}

fn a_segment(key: i32, size: usize, mode: i32) -> i32 {
    foreign::create_segment(key, size, mode).unwrap()
}

/// Ways to be none of ours.
#[rstest]
#[case::open_to_others(|key| a_segment(key, SIZE, 0o666))]
#[case::open_to_the_group(|key| a_segment(key, SIZE, 0o640))]
#[case::smaller(|key| a_segment(key, SIZE - 1, 0o600))]
#[case::tiny(|key| a_segment(key, 1, 0o600))]
#[case::larger(|key| a_segment(key, SIZE + 1, 0o600))]
#[case::of_another_version(|key| {
    let id = a_segment(key, SIZE, 0o600);
    foreign::write_segment(id, 0, b"PIPIPLB\xff").unwrap();
    id
})]
#[case::garbage(|key| {
    let id = a_segment(key, SIZE, 0o600);
    let garbage: Vec<u8> = (0..SIZE).map(|i| (i * i % 251) as u8 | 1).collect();
    foreign::write_segment(id, 0, &garbage).unwrap();
    id
})]
#[case::of_another_directory(|key| {
    let id = a_segment(key, SIZE, 0o600);
    foreign::write_segment(id, 0, b"PIPIPLB\x01").unwrap();
    id
})]
fn a_foreign_segment_is_stepped_over(#[case] make: fn(i32) -> i32) {
    let sandbox = Sandbox::default();
    let key = keys(&sandbox, KeyOf::Segment)[0];
    let id = make(key);
    let before = foreign::read_segment(id).unwrap();
    run_the_sample(&sandbox);
    assert_eq!(sandbox.ipc_objects(), [IpcObject::Segment { id, key }]);
    assert!(foreign::read_segment(id).unwrap() == before, "it was written to");
}

#[test]
fn a_segment_of_another_user_is_stepped_over() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::default();
    let key = keys(&sandbox, KeyOf::Segment)[0];
    let id = a_segment(key, SIZE, 0o600);
    foreign::give_segment(id, NOBODY).unwrap();
    run_the_sample(&sandbox);
    assert_eq!(sandbox.ipc_objects(), [IpcObject::Segment { id, key }]);
    assert_eq!(foreign::read_segment(id).unwrap(), vec![0; SIZE]);
}

/// Ours is found although a stranger that stood before it is gone, or a new one stands there.
#[rstest]
fn strangers_come_and_go_while_a_session_is_unfinished(#[values(false, true)] comes: bool) {
    let sandbox = Sandbox::default();
    let keys = keys(&sandbox, KeyOf::Segment);
    let strangers = [0, 1].map(|i| a_segment(keys[i], 100, 0o600));
    sandbox.ok("client", &["Halo A;10"]);
    for stranger in strangers {
        shared_memory::remove(stranger).unwrap();
    }
    if comes {
        let _ = a_segment(keys[1], SIZE, 0o666);
    }
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    assert_eq!(sandbox.ipc_objects().len(), usize::from(comes), "{}", sandbox.report());
}

#[test]
fn all_keys_of_the_segment_are_taken() {
    let sandbox = Sandbox::default();
    let ids: Vec<i32> =
        keys(&sandbox, KeyOf::Segment).into_iter().map(|key| a_segment(key, 100, 0o600)).collect();
    for (program, arg) in [("client", "Halo A;10"), ("loadbalancer", "3"), ("worker", "1")] {
        let ended = sandbox.run(program, &[arg]);
        sandbox.assert_code(&ended, 3);
        let says = "all 16 keys for the shared memory segment of this directory are used";
        assert!(ended.stderr.contains(says), "{ended:#?}");
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(sandbox.log(), "");
    // One of them goes, and all is well.
    shared_memory::remove(ids[7]).unwrap();
    run_the_sample(&sandbox);
    assert_eq!(sandbox.ipc_objects().len(), 15);
}

fn queue_key(sandbox: &Sandbox, worker: u32) -> Vec<i32> {
    keys(sandbox, KeyOf::Queue(WorkerId::new(worker).unwrap()))
}

/// A queue with a message in it.
fn a_queue(key: i32, mode: i32) -> MessageQueue {
    let queue = foreign::create_queue(key, mode).unwrap();
    queue.try_send(&Message::boxed(), 100).unwrap();
    queue
}

#[rstest]
#[case::open_to_others(0o666)]
#[case::open_to_the_group(0o660)]
fn a_foreign_queue_is_stepped_over(#[case] mode: i32) {
    let sandbox = Sandbox::default();
    let key = queue_key(&sandbox, 2)[0];
    let queue = a_queue(key, mode);
    run_the_sample(&sandbox);
    assert_eq!(sandbox.ipc_objects(), [IpcObject::Queue { id: queue.0, key }]);
    assert_eq!(queue.stat().unwrap().messages, 1);
}

#[test]
fn a_queue_of_another_user_is_stepped_over() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::default();
    let key = queue_key(&sandbox, 1)[0];
    let queue = a_queue(key, 0o600);
    foreign::give_queue(queue, NOBODY).unwrap();
    run_the_sample(&sandbox);
    assert_eq!(sandbox.ipc_objects(), [IpcObject::Queue { id: queue.0, key }]);
    assert_eq!(queue.stat().unwrap().messages, 1);
}

#[test]
fn all_keys_of_a_queue_are_taken() {
    let sandbox = Sandbox::default();
    let queues: Vec<_> =
        queue_key(&sandbox, 3).into_iter().map(|key| a_queue(key, 0o666)).collect();
    sandbox.ok("client", &["Halo A;10"]);
    let ended = sandbox.run("loadbalancer", &["3"]);
    sandbox.assert_code(&ended, 3);
    let says = "all 16 keys for the message queue of this directory are used";
    assert!(ended.stderr.contains(says), "{ended:#?}");
    queues[0].remove().unwrap();
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    assert_eq!(sandbox.ipc_objects().len(), 15);
}

/// A ledger that says another queue is the worker's, of the same user and mode.
#[test]
fn a_worker_takes_nothing_out_of_a_queue_that_is_not_its_own() {
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("the worker has come", || sandbox.has_worker(1));
    let journal = Journal::open(Instance::open(&sandbox.dir()).unwrap()).unwrap().0;
    let (ledger, id) = (journal.ledger(), WorkerId::new(1).unwrap());
    sandbox.wait_until("it begins a life", || ledger.generations(id).0 == 1);
    // The second worker's key is none of the first one's.
    let foreign = a_queue(queue_key(&sandbox, 2)[0], 0o600);
    ledger.set_queue(id, 1, foreign.0);
    ledger.stage().ring();
    sandbox.wait_until("it asks for another queue", || ledger.generations(id).0 > 1);
    assert_eq!(foreign.stat().unwrap().messages, 1);
    foreign.remove().unwrap();
    drop(journal);
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["--no-spawn", "1"]);
    sandbox.assert_code(&sandbox.end(&mut worker), 0);
    sandbox.assert_clean();
}
