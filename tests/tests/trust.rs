//! Objects of others under our keys: stepped over, left as they were, and the sample comes out right.
#![forbid(unsafe_code)]

use common::fence::message_queue::{Message, MessageQueue};
use common::fence::shared_memory;
use common::grammar::rotation::WorkerId;
use common::instance::directory::{Directory, KeyOf};
use common::ledger::cursors::Cursors;
use common::ledger::layout::Layout;
use common::ledger::{Identity, Ledger};
use common::queue::MARK_LEN;
use rstest::rstest;
use tests::{IpcObject, Sandbox, killed_at};

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

/// Ours is found although a stranger that was before it is gone, or a new one is there.
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

/// A queue that others use for something else is theirs, even if it is this user's, closed to all others, and under one
/// of our keys: it was removed.
#[rstest]
#[case::in_use(a_queue)]
#[case::fresh(|key, mode| MessageQueue::create(key, mode).unwrap())]
fn a_queue_of_this_user_was_removed(#[case] make: fn(i32, i32) -> MessageQueue) {
    let sandbox = Sandbox::default();
    let keys = queue_key(&sandbox, 2);
    let keys = [keys[0], keys[5]];
    let queues = keys.map(|key| make(key, 0o600));
    let before = queues.map(|queue| queue.stat().unwrap().messages);
    run_the_sample(&sandbox);
    // Whoever has no use for a worker removes its queue.
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["1"]);
    let left = [0, 1].map(|i| IpcObject::Queue { id: queues[i].0, key: keys[i] });
    let mut objects = sandbox.ipc_objects();
    objects.sort_by_key(|object| *object != left[0]);
    assert_eq!(objects, left);
    assert_eq!(queues.map(|queue| queue.stat().unwrap().messages), before);
}

/// A worker was killed as soon as it had made its queue: only the ledger says that it is ours. The next one's cell says
/// something else, and its queue is marked.
#[rstest]
fn a_queue_is_recognised_by_its_mark_or_by_the_ledger(#[values(true, false)] removed: bool) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let (unmarked, marked) = (queue_key(&sandbox, 2)[3], queue_key(&sandbox, 3)[3]);
    let queues = [unmarked, marked].map(|key| MessageQueue::create(key, 0o600).unwrap());
    sandbox.ledger().unwrap().cell(WorkerId::new(2).unwrap()).set_queue_key(unmarked);
    let mut message = Message::boxed();
    message.kind = sandbox.mark();
    queues[1].try_send(&message, MARK_LEN).unwrap();
    if removed {
        shared_memory::remove(sandbox.segment().unwrap()).unwrap();
    }
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    // Without that ledger nobody can know.
    let unmarked = IpcObject::Queue { id: queues[0].0, key: unmarked };
    assert_eq!(sandbox.ipc_objects(), if removed { vec![unmarked] } else { Vec::new() });
}

/// Its maker was killed as soon as it was there: the ledger names it.
#[test]
fn a_queue_is_named_before_it_is_made() {
    for at in 0.. {
        let sandbox = Sandbox::default();
        sandbox.ok("client", &["Halo A;10"]);
        let worker = sandbox.command("worker", &["2"]);
        assert_eq!(killed_at(&worker, &sandbox.log_path(), at), None, "it has ended");
        let Some(queue) = sandbox.queues().first().copied() else { continue };
        assert!(!queue.holds(sandbox.mark()).unwrap(), "it is marked: that shows nothing");
        sandbox.ok("loadbalancer", &["3"]);
        sandbox.assert_log(SAMPLE);
        sandbox.assert_clean();
        return;
    }
}

/// Its maker and its ledger are gone: it is marked.
#[test]
fn a_queue_is_recognised_when_only_its_mark_is_left() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let mut worker = sandbox.start("worker", &["2"]);
    sandbox.wait_until("it has a queue", || {
        let ledger = sandbox.ledger().unwrap();
        ledger.cell(WorkerId::new(2).unwrap()).queue().0 > 0
    });
    worker.kill();
    shared_memory::remove(sandbox.segment().unwrap()).unwrap();
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
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
