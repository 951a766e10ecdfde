//! Others send into a worker's queue, or take frames out of it: reported, ignored, sent again; and the
//! log comes out right.
#![forbid(unsafe_code)]

use common::fence::foreign;
use common::fence::message_queue::{MESSAGE_LEN_MAX, Message, MessageQueue};
use common::frame::KIND_FINISH;
use nix::sys::signal::Signal;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{IpcObject, Process, Sandbox};

fn queues(sandbox: &Sandbox) -> Vec<MessageQueue> {
    let is_queue = |object| match object {
        IpcObject::Queue { id, .. } => Some(MessageQueue(id)),
        IpcObject::Segment { .. } => None,
    };
    sandbox.ipc_objects().into_iter().filter_map(is_queue).collect()
}

/// The session's nonce, which stands behind the magic word: with it a frame is not a stranger's.
fn session(sandbox: &Sandbox) -> [u8; 8] {
    let is_segment = |object: &IpcObject| matches!(object, IpcObject::Segment { .. });
    let Some(IpcObject::Segment { id, .. }) = sandbox.ipc_objects().into_iter().find(is_segment)
    else {
        panic!("no ledger{}", sandbox.report());
    };
    foreign::read_segment(id).unwrap()[8..16].try_into().unwrap()
}

/// A balancer with one worker that waits in its queue, and has executed one message.
fn serving() -> (Sandbox, Process, MessageQueue) {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "1"]);
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    let queue = queues(&sandbox)[0];
    (sandbox, balancer, queue)
}

/// Sends a message, once there is room.
fn send(sandbox: &Sandbox, queue: MessageQueue, message: &Message, len: usize) {
    sandbox.wait_until("there is room in the queue", || queue.try_send(message, len).is_ok());
}

fn finish(sandbox: &Sandbox, mut balancer: Process) -> String {
    sandbox.ok("client", &["Halo A;10"]);
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    assert_eq!(sandbox.sessions()[0].shares, [11], "{}", sandbox.report());
    sandbox.assert_clean();
    ended.stderr
}

/// Types and lengths of all kinds; strangers' messages, and ones that begin like a frame of ours.
#[rstest]
fn random_messages_are_reported_and_ignored(#[values(1, 2, 3, 4)] seed: u64) {
    let (sandbox, balancer, queue) = serving();
    let nonce = session(&sandbox);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut message = Message::boxed();
    for _ in 0..100 {
        let kind = [1, 1, 1, 2, 3, i64::MAX, rng.random_range(1..=i64::MAX)];
        message.set_kind(kind[rng.random_range(0..kind.len())]);
        let len_max = [16, 64, MESSAGE_LEN_MAX][rng.random_range(0..3)];
        let len = rng.random_range(0..=len_max);
        rng.fill_bytes(&mut message.bytes_mut()[..]);
        if message.kind() == 1 && rng.random_bool(0.5) {
            message.bytes_mut()[..8].copy_from_slice(&nonce);
        }
        // A worker that thinks frames are missing asks for a new queue: then the old one is gone.
        if queue.stat().is_ok() && queue.try_send(&message, len).is_err() {
            let queue = queues(&sandbox).first().copied().unwrap_or(queue);
            let _ = queue.try_send(&message, len);
        }
    }
    let stderr = finish(&sandbox, balancer);
    assert!(stderr.contains("worker 1: ignored a message of"), "seed {seed}: {stderr}");
}

/// One at a time, so that each reason is named.
#[rstest]
#[case::of_a_stranger(1, b"0123456789abcdef", "it does not belong to this session")]
#[case::empty(1, b"", "it is cut short")]
#[case::of_another_type(77, b"hello", "it does not belong to this session")]
#[case::finish_of_a_stranger(2, b"01234567", "it does not belong to this session")]
fn what_is_wrong_with_a_message_is_said(
    #[case] kind: i64,
    #[case] bytes: &[u8],
    #[case] says: &str,
) {
    let (sandbox, balancer, queue) = serving();
    let mut message = Message::boxed();
    message.set_kind(kind);
    message.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    send(&sandbox, queue, &message, bytes.len());
    let reported = format!(
        "worker 1: ignored a message of {} bytes in its queue (id {}): {says}",
        bytes.len(),
        queue.0
    );
    sandbox.wait_until("it is reported", || balancer.stderr().contains(&reported));
    finish(&sandbox, balancer);
}

/// A frame of this session cut at every byte of its head and first batch, and lengths that lie.
#[test]
fn frames_that_lie_about_their_lengths_are_ignored() {
    let (sandbox, balancer, queue) = serving();
    let mut frame = session(&sandbox).to_vec();
    frame.extend(1_u64.to_le_bytes()); // the worker's second message
    let head = frame.len();
    frame.extend([5_u16, 0, 5, 1].iter().flat_map(|half| half.to_le_bytes()));
    frame.extend(b"forge\x01\0\0\0");
    let mut message = Message::boxed();
    message.set_kind(1);
    message.bytes_mut()[..frame.len()].copy_from_slice(&frame);
    // A head alone is a frame without batches.
    for len in (0..frame.len()).filter(|&len| len != head) {
        send(&sandbox, queue, &message, len);
    }
    for (at, half) in [
        (0, 4),
        (0, 6),
        (0, u16::MAX),
        (2, 1),
        (2, u16::MAX),
        (4, 0),
        (4, 4),
        (4, u16::MAX),
        (6, 0),
        (6, 2),
        (6, u16::MAX),
    ] {
        let mut lying = frame.clone();
        lying[head + at..head + at + 2].copy_from_slice(&u16::to_le_bytes(half));
        message.bytes_mut()[..frame.len()].copy_from_slice(&lying);
        send(&sandbox, queue, &message, frame.len());
    }
    let stderr = finish(&sandbox, balancer);
    let ignored = stderr.matches("ignored a message of").count();
    assert_eq!(ignored, frame.len() - 1 + 11, "{stderr}");
}

/// A thief takes whatever he can, from a worker that is stopped for a moment and from all others.
#[rstest]
#[case::spawned(true)]
#[case::by_hand(false)]
fn stolen_frames_are_sent_again(#[case] spawned: bool) {
    let sandbox = Sandbox::default();
    let expected = canonical_log(&[("Halo A", 100_000)], 3);
    let mut running: Vec<Process> = Vec::new();
    let victim = if spawned {
        running.push(sandbox.start("loadbalancer", &["3"]));
        sandbox.wait_until("worker 2 runs", || sandbox.spawned_worker(2).is_some());
        sandbox.spawned_worker(2).unwrap()
    } else {
        running.extend(["1", "2", "3"].map(|k| sandbox.start("worker", &[k])));
        running.push(sandbox.start("loadbalancer", &["--no-spawn", "3"]));
        running[1].pid()
    };
    let victim = nix::unistd::Pid::from_raw(victim);
    nix::sys::signal::kill(victim, Signal::SIGSTOP).unwrap();
    sandbox.ok("client", &["Halo A;100000"]);
    let mut loot = Message::boxed();
    let mut stolen = 0;
    sandbox.wait_until("enough is stolen", || {
        for queue in queues(&sandbox) {
            stolen += u32::from(queue.try_receive(&mut loot).is_ok());
        }
        stolen >= 3
    });
    // A spawned one may have been killed for standing still.
    let _ = nix::sys::signal::kill(victim, Signal::SIGCONT);
    for process in &mut running {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// The only frame: no later one shows that it is missing.
#[rstest]
#[case::spawned(true)]
#[case::by_hand(false)]
fn the_last_frame_is_sent_again(#[case] spawned: bool) {
    let sandbox = Sandbox::default();
    let mut running: Vec<Process> = Vec::new();
    let worker = if spawned {
        running.push(sandbox.start("loadbalancer", &["--serve", "1"]));
        sandbox.wait_until("its worker runs", || sandbox.has_worker(1));
        sandbox.spawned_worker(1).unwrap()
    } else {
        running.push(sandbox.start("loadbalancer", &["--serve", "--no-spawn", "1"]));
        running.push(sandbox.start("worker", &["1"]));
        running[1].pid()
    };
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    let pid = nix::unistd::Pid::from_raw(worker);
    nix::sys::signal::kill(pid, Signal::SIGSTOP).unwrap();
    sandbox.ok("client", &["Halo A;10"]);
    let mut loot = Message::boxed();
    sandbox.wait_until("it is stolen", || queues(&sandbox)[0].try_receive(&mut loot).is_ok());
    // It may have been killed for standing still.
    let _ = nix::sys::signal::kill(pid, Signal::SIGCONT);
    sandbox.wait_until("all is executed", || sandbox.log().matches("Worker1: ").count() == 11);
    running[0].signal(Signal::SIGTERM);
    for process in &mut running {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    assert_eq!(sandbox.sessions()[0].shares, [11]);
    sandbox.assert_clean();
}

/// The request for the total: there is no later message either. A balancer whose workers are started by
/// hand once span here, and did not get to asking again.
#[test]
fn a_stolen_request_for_a_total_is_sent_again() {
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["1"]);
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "--no-spawn", "1"]);
    sandbox.ok("client", &["Halo A;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    worker.signal(Signal::SIGSTOP);
    balancer.signal(Signal::SIGTERM);
    let mut loot = Message::boxed();
    sandbox.wait_until("it is stolen", || queues(&sandbox)[0].try_receive(&mut loot).is_ok());
    assert_eq!(loot.kind(), KIND_FINISH);
    worker.signal(Signal::SIGCONT);
    sandbox.assert_code(&sandbox.end(&mut worker), 0);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&canonical_log(&[("Halo A", 1)], 1));
    sandbox.assert_clean();
}

/// As after a death between sending and counting: what was executed is not executed again.
#[test]
fn a_frame_that_comes_twice_is_executed_once() {
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["--echo", "1"]);
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "--no-spawn", "1"]);
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    worker.signal(Signal::SIGSTOP);
    sandbox.ok("client", &["Halo A;10"]);
    let queue = queues(&sandbox)[0];
    let mut frame = Message::boxed();
    let mut len = 0;
    sandbox.wait_until("its frame is there", || {
        queue.try_receive(&mut frame).is_ok_and(|received| {
            len = received;
            true
        })
    });
    for _ in 0..3 {
        queue.try_send(&frame, len).unwrap();
    }
    worker.signal(Signal::SIGCONT);
    sandbox.wait_until("all is executed", || sandbox.log().matches("Worker1: ").count() == 11);
    balancer.signal(Signal::SIGTERM);
    let echoed = sandbox.end(&mut worker).stdout;
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    let expected: Vec<_> = (1..=10).map(|i| format!("Halo A;{i}\n")).collect();
    assert_eq!(echoed, format!("first;1\n{}", expected.concat()));
    assert_eq!(sandbox.sessions()[0].shares, [11]);
    sandbox.assert_clean();
}
