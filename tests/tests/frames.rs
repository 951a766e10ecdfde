//! Frames carry the messages: a worker prints what it takes out of them, through queues of any size.
#![forbid(unsafe_code)]

use common::grammar::submission::TEXT_LEN_MAX;
use common::queue::MARK_LEN;
use common::queue::frame::FRAME_LEN_MIN;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Process, Sandbox};

/// The longest text: the alphabet over and over, so that pieces that change places are noticed.
const LONGEST: &str = {
    const BYTES: [u8; TEXT_LEN_MAX] = {
        let mut bytes = [b'a'; TEXT_LEN_MAX];
        let mut i = 0;
        while i < bytes.len() {
            bytes[i] += (i % 26) as u8;
            i += 1;
        }
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!(),
    }
};

/// What worker k of N is to print for these submissions.
fn echoed(submissions: &[(&str, u32)], k: usize, workers: usize) -> String {
    let messages =
        submissions.iter().flat_map(|(text, count)| (1..=*count).map(move |i| (text, i)));
    let own = messages.skip(k - 1).step_by(workers);
    own.fold(String::new(), |echoed, (text, index)| echoed + &format!("{text};{index}\n"))
}

fn submit(sandbox: &Sandbox, submissions: &[(&str, u32)]) {
    let lines: Vec<_> = submissions.iter().map(|(text, count)| format!("{text};{count}")).collect();
    let mut client = sandbox.start_with_input("client", &["--quiet"], lines.join("\n").as_bytes());
    sandbox.assert_code(&sandbox.end(&mut client), 0);
}

#[rstest]
#[case::the_sample(&[("Halo A", 10)], 3)]
#[case::several_texts(&[("one", 5), ("two;2", 1), ("három", 7), ("4", 1), ("one", 1)], 3)]
#[case::longest_text(&[(LONGEST, 10), ("x", 3)], 2)]
#[case::many_to_a_frame(&[("a", 5000), ("b", 5000)], 1)]
#[case::many_submissions(&[("a", 1), ("b", 2), ("c", 3)].repeat(100), 4)]
fn a_worker_prints_what_the_frames_say(
    #[case] submissions: &[(&str, u32)],
    #[case] workers: usize,
) {
    let sandbox = Sandbox::default();
    submit(&sandbox, submissions);
    let mut echoing: Vec<Process> =
        (1..=workers).map(|k| sandbox.start("worker", &["--echo", &k.to_string()])).collect();
    sandbox.ok("loadbalancer", &["--no-spawn", &workers.to_string()]);
    for (k, worker) in (1..).zip(&mut echoing) {
        let ended = sandbox.end(worker);
        sandbox.assert_code(&ended, 0);
        assert!(ended.stdout == echoed(submissions, k, workers), "worker {k}: {ended:#?}");
    }
    sandbox.assert_log(&canonical_log(submissions, u32::try_from(workers).unwrap()));
    sandbox.assert_clean();
}

/// The queues are lowered while nothing is in them.
#[rstest]
#[case::one_small_frame(64)]
#[case::the_least((FRAME_LEN_MIN + MARK_LEN) as u64)]
#[case::odd(333)]
fn queues_that_take_only_one_small_frame(#[case] bytes_max: u64) {
    let submissions = [("first", 2), ("Halo A", 10), (LONGEST, 7), ("x", 100)];
    let sandbox = Sandbox::default();
    let mut running = vec![sandbox.start("loadbalancer", &["--serve", "--no-spawn", "2"])];
    running.extend([1, 2].map(|k| sandbox.start("worker", &["--echo", &k.to_string()])));
    submit(&sandbox, &submissions[..1]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker2: message received"));
    for queue in sandbox.queues() {
        foreign::change_queue(queue, |stat| stat.msg_qbytes = bytes_max).unwrap();
    }
    submit(&sandbox, &submissions[1..]);
    let executed = || sandbox.log().matches(": message received\n").count();
    sandbox.wait_until("all is executed", || executed() == 119);
    running[0].signal(Signal::SIGTERM);
    for process in &mut running {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    for k in [1, 2] {
        assert!(
            running[k].stdout() == echoed(&submissions, k, 2),
            "worker {k}{}",
            sandbox.report()
        );
    }
    assert_eq!(sandbox.sessions().len(), 1);
    sandbox.assert_clean();
}

#[test]
fn queues_that_are_lowered_while_they_are_full() {
    let submissions = [("Halo A", 20_000), (LONGEST, 20), ("x", 100)];
    let sandbox = Sandbox::default();
    submit(&sandbox, &submissions);
    let expected = canonical_log(&submissions, 3);
    let totals_at = expected.find("Worker 1: ").unwrap() as u64;
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    let mut lowered = 0;
    sandbox.wait_until("queues are lowered, and all is logged", || {
        for queue in sandbox.queues() {
            // It may be replaced by now.
            lowered += u32::from(foreign::change_queue(queue, |stat| stat.msg_qbytes = 64).is_ok());
        }
        lowered >= 3 && sandbox.log_len() >= totals_at
    });
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

#[test]
fn a_queue_below_the_least_is_a_clear_error() {
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["1"]);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "--serve", "1"]);
    sandbox.ok("client", &["first;1"]);
    let first = canonical_log(&[("first", 1)], 1);
    sandbox.wait_for_log(first.find("Worker 1: ").unwrap() as u64);
    let too_small = (FRAME_LEN_MIN + MARK_LEN - 1) as u64;
    foreign::change_queue(sandbox.queues()[0], |stat| stat.msg_qbytes = too_small).unwrap();
    // Of one message nothing but the text is sent.
    sandbox.ok("client", &["lone;1"]);
    sandbox.wait_until("it is executed", || {
        sandbox.log().matches(": message received\n").count() == 2
    });
    sandbox.ok("client", &["Halo A;2"]);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("takes only 28 bytes and a frame needs 29"), "{ended:#?}");
    assert!(ended.stderr.contains("kernel.msgmnb"), "what to do: {ended:#?}");
    // A new start has new queues.
    sandbox.ok("loadbalancer", &["--no-spawn", "1"]);
    sandbox.assert_code(&sandbox.end(&mut worker), 0);
    assert_eq!(sandbox.sessions()[0].shares, [4]);
    sandbox.assert_clean();
}
