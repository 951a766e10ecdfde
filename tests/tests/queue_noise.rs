//! Others send into a worker's queue: reported, ignored, and the log comes out right.
#![forbid(unsafe_code)]

use common::fence::message_queue::{MESSAGE_LEN_MAX, Message, MessageQueue};
use nix::sys::signal::Signal;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rstest::rstest;
use tests::{Process, Sandbox};

/// The session's nonce, which comes after the magic word: with it a frame is not a stranger's.
fn session(sandbox: &Sandbox) -> [u8; 8] {
    let id = sandbox.segment().unwrap();
    foreign::read_segment(id).unwrap()[8..16].try_into().unwrap()
}

/// A balancer with one worker that waits in its queue, and has executed one message.
fn serving() -> (Sandbox, Process, MessageQueue) {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "1"]);
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    let queue = sandbox.queues()[0];
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
        message.kind = kind[rng.random_range(0..kind.len())];
        let len_max = [16, 64, MESSAGE_LEN_MAX][rng.random_range(0..3)];
        let len = rng.random_range(0..=len_max);
        rng.fill_bytes(&mut message.bytes[..]);
        if message.kind == 1 && rng.random_bool(0.5) {
            message.bytes[..8].copy_from_slice(&nonce);
        }
        // A worker that thinks frames are missing asks for a new queue: then the old one is gone.
        if queue.stat().is_ok() && queue.try_send(&message, len).is_err() {
            let queue = sandbox.queues().first().copied().unwrap_or(queue);
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
    message.kind = kind;
    message.bytes[..bytes.len()].copy_from_slice(bytes);
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
    message.kind = 1;
    message.bytes[..frame.len()].copy_from_slice(&frame);
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
        message.bytes[..frame.len()].copy_from_slice(&lying);
        send(&sandbox, queue, &message, frame.len());
    }
    let stderr = finish(&sandbox, balancer);
    let ignored = stderr.matches("ignored a message of").count();
    assert_eq!(ignored, frame.len() - 1 + 11, "{stderr}");
}
