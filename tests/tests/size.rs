//! From one message to a billion: what is accepted, what it costs in memory, and that it comes out right.
#![forbid(unsafe_code)]

use std::io::Write;
use std::time::Duration;

use common::fence::shared_memory;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::{canonical_log, submissions};
use tests::{IpcObject, Process, Sandbox, memory_peak};

const MEBIBYTE: u64 = 1 << 20;

#[rstest]
#[case::fewer_messages_than_workers(2, 3)]
#[case::one_message_for_many(1, 16)]
#[case::one_more_than_the_original_could(65, 3)]
#[case::many_workers(1000, 256)]
#[case::one_worker(1000, 1)]
fn small_jobs(#[case] count: u32, #[case] workers: u32) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &[&format!("Halo A;{count}")]);
    sandbox.ok("loadbalancer", &[&workers.to_string()]);
    sandbox.assert_log(&canonical_log(&[("Halo A", count)], workers));
    sandbox.assert_clean();
}

#[rstest]
fn a_million_messages(#[values(1, 3, 16)] workers: u32) {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &[&workers.to_string()]);
    let mut client = sandbox.start("client", &["Halo A;1000000"]);
    let mut peak = 0;
    while balancer.wait(Duration::from_millis(10)).is_none() {
        peak = peak.max(sandbox.processes().into_iter().map(memory_peak).max().unwrap_or(0));
    }
    sandbox.assert_code(&sandbox.end(&mut client), 0);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    let sessions = sandbox.sessions();
    assert_eq!(sessions.len(), 1, "{}", sandbox.report());
    assert_eq!((sessions[0].submissions, sessions[0].messages), (1, 1_000_000));
    assert_eq!(sessions[0].shares.len(), workers as usize);
    assert!(peak > 0 && peak < 8 * MEBIBYTE, "the most memory of a process: {peak} bytes");
    sandbox.assert_clean();
}

/// Not run to its end: it begins, needs no more memory than a small one, and is set aside.
#[test]
fn a_billion_messages_need_no_more_memory_than_ten() {
    let ledger_size = |sandbox: &Sandbox| {
        let objects = sandbox.ipc_objects();
        let [IpcObject::Segment { id, .. }] = objects[..] else { panic!("{objects:?}") };
        shared_memory::stat(id).unwrap().size
    };
    let small = Sandbox::default();
    small.ok("client", &["Halo A;10"]);
    let sandbox = Sandbox::default();
    let ended = sandbox.ok("client", &["Halo A;1000000000"]);
    assert_eq!(ended.stdout, "accepted Halo A;1000000000\n");
    assert_eq!(ledger_size(&sandbox), ledger_size(&small));

    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_for_log(20 * MEBIBYTE);
    let peaks: Vec<_> = sandbox.processes().into_iter().map(memory_peak).collect();
    assert_eq!(peaks.len(), 4, "{}", sandbox.report());
    assert!(peaks.iter().all(|&peak| peak < 8 * MEBIBYTE), "{peaks:?}");
    balancer.kill();
    sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());

    // A new session instead of this one.
    let mut balancer = sandbox.start("loadbalancer", &["--fresh", "3"]);
    sandbox.wait_until("the session is set aside", || {
        balancer.stderr().contains("the unfinished session is now in ./sistem.log.1")
    });
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(include_str!("sample.log"));
    let aside = sandbox.dir().join("sistem.log.1");
    assert!(std::fs::metadata(&aside).unwrap().len() >= 20 * MEBIBYTE);
    std::fs::remove_file(aside).unwrap();
    sandbox.assert_clean();
}

/// 8 clients with 200 submissions each, texts of 1 to 4096 bytes: everything once, in each client's
/// order.
#[test]
fn many_clients_at_once() {
    const CLIENTS: usize = 8;
    const EACH: usize = 200;
    let sandbox = Sandbox::default();
    let line = |client: usize, i: usize| {
        // The tail makes texts differ, the padding takes every length to the limits.
        let tail = format!("{client}.{i}");
        let len = [tail.len(), 4096, (i * 4096 / EACH).max(tail.len())][i % 3];
        format!("{}{tail};{}", "-".repeat(len - tail.len()), 1 + i % 7)
    };
    let lines = |client| (0..EACH).map(move |i| line(client, i)).collect::<Vec<_>>();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "5"]);
    let mut clients: Vec<Process> = (0..CLIENTS)
        .map(|client| sandbox.start_with_input("client", &[], lines(client).join("\n").as_bytes()))
        .collect();
    for client in &mut clients {
        let ended = sandbox.end(client);
        sandbox.assert_code(&ended, 0);
        assert_eq!(ended.stdout.lines().count(), EACH, "{}", ended.stderr);
    }
    balancer.signal(nix::sys::signal::Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);

    let sessions = sandbox.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].submissions, (CLIENTS * EACH) as u64);
    let accepted = submissions(&sandbox.log());
    for client in 0..CLIENTS {
        let is_its = |line: &&String| {
            let tail = line.rsplit_once(';').unwrap().0.trim_start_matches('-');
            tail.starts_with(&format!("{client}."))
        };
        let its: Vec<_> = accepted.iter().filter(is_its).cloned().collect();
        assert!(its == lines(client), "client {client} has {} submissions", its.len());
    }
    sandbox.assert_clean();
}

/// More than the ledger holds, while nobody works it off.
#[rstest]
#[case::long_texts(4096, 400)]
#[case::short_texts(1, 200_000)]
fn clients_wait_while_the_ledger_is_full(#[case] len: usize, #[case] count: usize) {
    let sandbox = Sandbox::default();
    // The last byte tells whose it is, and counts.
    let lines = ["0123456789", "abcdefghij"].map(|digits| {
        let padding = "x".repeat(len - 1);
        let line = |i: usize| format!("{padding}{};1", &digits[i % 10..=i % 10]);
        (0..count).map(line).collect::<Vec<_>>()
    });
    let mut clients = lines
        .each_ref()
        .map(|lines| sandbox.start_with_input("client", &[], lines.join("\n").as_bytes()));
    for client in &clients {
        sandbox.wait_until("it waits, and says so", || !client.stderr().is_empty());
    }
    let accepted_before = submissions(&sandbox.log()).len();
    assert!(accepted_before > 100 && accepted_before < 2 * count, "{accepted_before}");
    for client in &mut clients {
        assert!(client.is_running(), "{}", sandbox.report());
    }
    sandbox.ok("loadbalancer", &["3"]);
    for client in &mut clients {
        let ended = sandbox.end(client);
        sandbox.assert_code(&ended, 0);
        let told = "client: waiting: the ledger is full; no load balancer is running in this directory: start one \
                    there: `loadbalancer 3`\n";
        // Beside it, perhaps, who has the lock for so long on a busy machine.
        let others = ended.stderr.replacen(told, "", 1);
        assert!(ended.stderr.contains(told), "{ended:#?}");
        assert!(others.lines().all(|line| line.ends_with(" has locked sistem.log")), "{ended:#?}");
    }
    let sessions = sandbox.sessions();
    assert_eq!(sessions.len(), 1, "{}", sandbox.report());
    assert_eq!(sessions[0].submissions, 2 * count as u64);
    let accepted = submissions(&sandbox.log());
    let is_letter = |line: &String| line.as_bytes()[len - 1].is_ascii_alphabetic();
    let (letters, digits) = accepted.into_iter().partition::<Vec<_>, _>(is_letter);
    assert!([digits, letters] == lines, "not in the clients' order");
    sandbox.assert_clean();
}

/// A running load balancer, too, says who has the lock.
#[test]
fn a_lock_that_is_taken_under_a_balancer_is_told() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["1"]);
    sandbox.wait_until("the worker runs", || sandbox.has_worker(1));
    sandbox.stop(balancer.pid());
    sandbox.ok("client", &["Halo A;10"]);
    let log = std::fs::File::open(sandbox.log_path()).unwrap();
    log.lock().unwrap();
    balancer.signal(Signal::SIGCONT);
    let told = format!("waiting: process {} has locked sistem.log", std::process::id());
    sandbox.wait_until("it says so", || balancer.stderr().contains(&told));
    drop(log);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.matches(&told).count(), 1, "{ended:#?}");
    sandbox.assert_log(&canonical_log(&[("Halo A", 10)], 1));
    sandbox.assert_clean();
}

/// Also where nothing but the end is left to be written.
#[test]
fn a_lock_that_is_taken_before_the_end_is_told() {
    let sandbox = Sandbox::default();
    let mut client = sandbox.start_with_pipe("client", &[]);
    let mut input = client.take_stdin();
    input.write_all(b"Halo A;10\n").unwrap();
    let mut balancer = sandbox.start("loadbalancer", &["1"]);
    let expected = canonical_log(&[("Halo A", 10)], 1);
    sandbox.wait_for_log(expected.find("Worker 1: ").unwrap() as u64);
    let log = std::fs::File::open(sandbox.log_path()).unwrap();
    log.lock().unwrap();
    drop(input);
    sandbox.assert_code(&sandbox.end(&mut client), 0);
    let told = format!("waiting: process {} has locked sistem.log", std::process::id());
    sandbox.wait_until("it says so", || balancer.stderr().contains(&told));
    drop(log);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}
