//! Objects of others under our keys: stepped over, left as they were, and the sample comes out right.
#![forbid(unsafe_code)]

use common::fence::message_queue::{Message, MessageQueue};
use common::fence::shared_memory;
use common::grammar::rotation::WorkerId;
use common::instance::directory::{Directory, KeyOf};
use common::ledger::cursors::Cursors;
use common::ledger::layout::Layout;
use common::ledger::{Identity, Ledger};
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
    shared_memory::create(key, size, mode).unwrap()
}

/// Ways to be none of ours.
#[rstest]
#[case::open_to_others(|key| a_segment(key, SIZE, 0o666))]
#[case::open_to_the_group(|key| a_segment(key, SIZE, 0o640))]
#[case::smaller(|key| a_segment(key, SIZE - 1, 0o600))]
#[case::tiny(|key| a_segment(key, 1, 0o600))]
#[case::larger(|key| a_segment(key, SIZE + 1, 0o600))]
#[case::of_another_directory(|key| {
    let id = a_segment(key, SIZE, 0o600);
    let ledger = Ledger::attach(id).unwrap();
    let identity = Identity { directory: [1, 2, 3], log: [4, 5, 6] };
    ledger.lay_out(7, &identity, b"/elsewhere", &Cursors::default());
    ledger.publish();
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

/// What may be ours, damaged or of another version: beside it a second ledger was made.
#[rstest]
#[case::of_another_version(b"PIPIPLB\xff")]
#[case::garbage(b"12345678")]
fn a_segment_that_may_be_our_own_was_stepped_over(#[case] magic: &[u8]) {
    let sandbox = Sandbox::default();
    let key = keys(&sandbox, KeyOf::Segment)[0];
    let id = a_segment(key, SIZE, 0o600);
    foreign::write_segment(id, 0, magic).unwrap();
    for (program, arg) in [("client", "Halo A;10"), ("loadbalancer", "3"), ("worker", "1")] {
        let ended = sandbox.run(program, &[arg]);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains(&format!("`ipcrm -m {id}`")), "{ended:#?}");
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(sandbox.ipc_objects(), [IpcObject::Segment { id, key }]);
    // As the message says.
    shared_memory::remove(id).unwrap();
    run_the_sample(&sandbox);
    sandbox.assert_clean();
}

#[test]
fn a_segment_of_another_user_is_stepped_over() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::default();
    let key = keys(&sandbox, KeyOf::Segment)[0];
    let id = a_segment(key, SIZE, 0o600);
    foreign::change_segment(id, |stat| stat.shm_perm.uid = NOBODY).unwrap();
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
    // Only a client makes a ledger.
    let ended = sandbox.run("client", &["Halo A;10"]);
    sandbox.assert_code(&ended, 3);
    let says = "all 16 keys for the shared memory segment of this directory are used";
    assert!(ended.stderr.contains(says), "{ended:#?}");
    assert_eq!(ended.stdout, "");
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
    let queue = MessageQueue::create(key, mode).unwrap();
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
    foreign::change_queue(queue, |stat| stat.msg_perm.uid = NOBODY).unwrap();
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

/// A ledger that says another queue is the worker's, of the same user and mode: nothing is sent there.
#[test]
fn a_balancer_puts_nothing_into_a_queue_that_is_not_its_workers() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let ledger = sandbox.ledger().unwrap();
    let elsewhere = Sandbox::default();
    let foreign = MessageQueue::create(queue_key(&elsewhere, 1)[0], 0o600).unwrap();
    ledger.cell(WorkerId::new(1).unwrap()).set_queue(foreign.0);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "2"]);
    sandbox.wait_until("it asks for worker 1", || balancer.stderr().contains("start `worker 1`"));
    assert_eq!(foreign.stat().unwrap().messages, 0);
    foreign.remove().unwrap();
    let mut workers = ["1", "2"].map(|k| sandbox.start("worker", &[k]));
    for process in std::iter::once(&mut balancer).chain(&mut workers) {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    sandbox.assert_clean();
}
