//! SIGINT, SIGTERM and SIGHUP: the first drains, the second aborts, and what is unfinished is finished by
//! the next start.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use common::queue;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::{canonical_log, submissions};
use tests::ptrace::End;
use tests::{Sandbox, signalled_at_once, stop_outside_lock};

const ALL: [(Signal, i32); 3] =
    [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)];

#[rstest]
fn serving_several_clients_is_drained(
    #[values(Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP)] signal: Signal,
) {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    let mut clients: Vec<_> =
        (0..4).map(|c| sandbox.start("client", &[&format!("client {c};250")])).collect();
    for client in &mut clients {
        let ended = sandbox.end(client);
        sandbox.assert_code(&ended, 0);
    }
    // A serving balancer stays when everything is done.
    let last = "Worker1: message received\n";
    sandbox.wait_until("everything is logged", || {
        sandbox.log().matches(": message received\n").count() == 1000
    });
    assert!(sandbox.log().ends_with(last), "{}", sandbox.report());
    assert!(balancer.is_running(), "{}", sandbox.report());
    sandbox.ok("client", &["one more;2"]);
    balancer.signal(signal);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    let sessions = sandbox.sessions();
    assert_eq!(sessions.len(), 1, "{}", sandbox.report());
    assert_eq!(sessions[0].shares, [334, 334, 334]);
    let mut accepted = submissions(&sandbox.log());
    accepted[..4].sort();
    let expected = ["client 0;250", "client 1;250", "client 2;250", "client 3;250", "one more;2"];
    assert_eq!(accepted, expected);
    sandbox.assert_clean();
}

#[rstest]
fn a_signal_without_any_submission_leaves_nothing(
    #[values(&["3"], &["--serve", "3"], &["--no-spawn", "3"])] args: &[&str],
    #[values(Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP)] signal: Signal,
) {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", args);
    sandbox.wait_until("it has its role", || sandbox.has_balancer());
    balancer.signal(signal);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.lines().last(), Some("loadbalancer: draining: no messages left"));
    sandbox.assert_clean();
    assert_eq!(sandbox.log(), "");
}

/// A worker that waits for its balancer.
#[rstest]
fn a_signal_ends_a_worker_that_is_alone(#[values(0, 1, 2)] which: usize) {
    let (signal, code) = ALL[which];
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("it has its role", || sandbox.has_worker(1));
    worker.signal(signal);
    let ended = sandbox.end(&mut worker);
    sandbox.assert_code(&ended, code);
    sandbox.assert_clean();
}

/// The first signal asks to drain, which takes workers that are not there; so only the second ends it.
#[rstest]
fn the_second_signal_aborts_and_the_next_start_finishes(
    #[values(0, 1, 2)] which: usize,
    #[values(false, true)] serve: bool,
    #[values(false, true)] locked: bool,
) {
    let (signal, code) = ALL[which];
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let args: &[&str] = if serve { &["--no-spawn", "--serve", "3"] } else { &["--no-spawn", "3"] };
    let mut balancer = sandbox.start("loadbalancer", args);
    let sample = include_str!("sample.log");
    sandbox.wait_for_log(sample.find("Worker1:").unwrap() as u64);
    balancer.signal(signal);
    sandbox.wait_until("no session is open to clients any more", || is_closing(&sandbox));
    assert!(balancer.is_running(), "{}", sandbox.report());
    // A foreign program that has locked the log does not keep it from ending.
    let log = std::fs::File::open(sandbox.log_path()).unwrap();
    if locked {
        log.lock().unwrap();
    }
    let ended = sandbox.end_by(&mut balancer, signal);
    drop(log);
    sandbox.assert_code(&ended, code);
    assert!(ended.stderr.contains("start it again to finish the session"), "{ended:#?}");
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(sample);
    sandbox.assert_clean();
}

/// A terminal sends Ctrl-C to the whole group, and `npm start` or the like relays it too.
#[test]
fn one_ctrl_c_that_came_twice_aborted() {
    let sandbox = Sandbox::default();
    let sample = include_str!("sample.log");
    let mut workers = vec![sandbox.start("worker", &["1"])];
    sandbox.ok("client", &["Halo A;10"]);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    sandbox.wait_for_log(sample.find("Worker2:").unwrap() as u64);
    balancer.signal(Signal::SIGINT);
    balancer.signal(Signal::SIGTERM);
    sandbox.wait_until("both are taken", || !balancer.has_pending_signals());
    workers.extend(["2", "3"].map(|k| sandbox.start("worker", &[k])));
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    let told = "loadbalancer: draining: 9 messages left; again to abort\n";
    assert_eq!(ended.stderr.matches("draining").count(), 1, "{ended:#?}");
    assert!(ended.stderr.contains(told), "{ended:#?}");
    for worker in &mut workers {
        sandbox.assert_code(&sandbox.end(worker), 0);
    }
    sandbox.assert_log(sample);
    sandbox.assert_clean();
}

/// `nohup loadbalancer --serve 3 &`, and the terminal is closed.
#[test]
fn a_hangup_that_was_to_be_ignored_drained() {
    let sandbox = Sandbox::default();
    let program = sandbox.command("loadbalancer", &[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg("trap '' HUP; exec \"$0\" --serve 3").arg(program);
    command.current_dir(sandbox.dir());
    let mut balancer = sandbox.start_command(command, "nohup loadbalancer --serve 3");
    sandbox.wait_until("its workers run", || sandbox.has_worker(3));
    balancer.signal(Signal::SIGHUP);
    sandbox.ok("client", &["Halo A;10"]);
    let sample = include_str!("sample.log");
    sandbox.wait_for_log(sample.find("Worker 1: ").unwrap() as u64);
    assert!(!balancer.stderr().contains("draining"), "{}", sandbox.report());
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(sample);
    sandbox.assert_clean();
}

/// Waiting at its start for the lock on the log, which a stopped process held, neither heard a signal.
#[rstest]
fn who_waited_for_a_foreign_lock_was_deaf_to_signals(
    #[values(&["loadbalancer", "3"], &["loadbalancer", "--fresh", "3"])] command: &[&str],
    #[values(0, 1, 2)] which: usize,
) {
    let (signal, code) = ALL[which];
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let log = std::fs::File::open(sandbox.log_path()).unwrap();
    log.lock().unwrap();
    let mut process = sandbox.start(command[0], &command[1..]);
    sandbox.wait_until("it waits", || process.stderr().contains("has locked sistem.log"));
    let ended = sandbox.end_by(&mut process, signal);
    sandbox.assert_code(&ended, code);
    assert!(ended.stderr.contains("aborted before it had the lock"), "{ended:#?}");
    drop(log);
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// A drain that was not finished is finished by the next start; but that one has not been asked to end.
#[test]
fn a_service_that_finishes_anothers_drain_serves_on() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "--no-spawn", "3"]);
    let sample = include_str!("sample.log");
    sandbox.wait_for_log(sample.find("Worker1:").unwrap() as u64);
    balancer.signal(Signal::SIGTERM);
    sandbox.wait_until("no session is open to clients any more", || is_closing(&sandbox));
    balancer.kill();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_for_log(sample.len() as u64);
    sandbox.ok("client", &["again;4"]);
    let expected = format!("{sample}{}", canonical_log(&[("again", 4)], 3));
    sandbox.wait_for_log(expected.rfind("Worker 1: ").unwrap() as u64);
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// Whether a client that comes now has to wait for the next session.
fn is_closing(sandbox: &Sandbox) -> bool {
    sandbox.ledger().is_some_and(|ledger| ledger.cursors().unwrap().is_closing())
}

#[test]
fn aborted_in_the_middle_of_a_large_job() {
    let sandbox = Sandbox::default();
    let expected = canonical_log(&[("Halo A", 1_000_000)], 3);
    sandbox.ok("client", &["Halo A;1000000"]);
    let mut aborted = 0;
    for part in 1..=4 {
        if sandbox.log_len() == expected.len() as u64 {
            break; // this test was not scheduled for long: there is nothing left to abort
        }
        // Long enough for this part, and longer than before: so it is at work, and heeds signals.
        let at_work = (sandbox.log_len() + 1).max(expected.len() as u64 * part / 5);
        let mut balancer = sandbox.start("loadbalancer", &["3"]);
        sandbox.wait_for_log(at_work.min(expected.len() as u64));
        // Else the job may be done before a second signal is another request. It may be done already.
        if let Some(worker) = sandbox.spawned_worker(2) {
            let _ = stop_outside_lock(worker, &sandbox.log_path());
        }
        let ended = sandbox.end_by(&mut balancer, Signal::SIGINT);
        // The last of them may still add to the log.
        sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());
        match ended.status.code() {
            Some(130 | 143) => aborted += 1,
            _ => sandbox.assert_code(&ended, 0),
        }
    }
    if !sandbox.ipc_objects().is_empty() {
        sandbox.ok("loadbalancer", &["3"]);
    }
    assert!(aborted > 0, "every run was quicker than its signals");
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// `worker --echo 1 | less`: it waited for the reader of its output, whatever signals came.
#[rstest]
fn a_worker_whose_output_nobody_reads_was_deaf_to_signals(#[values(0, 1, 2)] which: usize) {
    let (signal, code) = ALL[which];
    let sandbox = Sandbox::default();
    let pipe = sandbox.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK);
    let mut full = options.open(&pipe).unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    let program = sandbox.command("worker", &[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg("exec \"$0\" --echo 1 >pipe").arg(program).current_dir(sandbox.dir());
    let mut worker = sandbox.start_command(command, "worker --echo 1");
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.ok("client", &["Halo A;20000"]);
    let has_two = |queue| queue::load(queue, sandbox.mark()).is_ok_and(|load| load.messages > 1);
    sandbox.wait_until("frames wait for the worker, which runs", || {
        // They are sent before it does, too.
        sandbox.has_worker(1) && sandbox.queues().into_iter().any(has_two)
    });
    worker.signal(signal);
    let ended = sandbox.end(&mut worker);
    sandbox.assert_code(&ended, code);
    std::fs::remove_file(pipe).unwrap();
    let mut next = sandbox.start("worker", &["1"]);
    for process in [&mut balancer, &mut next] {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.assert_log(&canonical_log(&[("Halo A", 20_000)], 1));
    sandbox.assert_clean();
}

/// The first signal's timer rang before there was a handler for it: it was killed by its own SIGALRM.
#[rstest]
fn a_signal_while_handlers_are_set_ends_it_as_any_other(
    #[values(&["worker", "1"], &["loadbalancer", "1"])] program: &[&str],
    #[values(Signal::SIGINT, Signal::SIGTERM)] signal: Signal,
) {
    let sandbox = Sandbox::default();
    let program = sandbox.command(program[0], &program[1..]);
    let ended = signalled_at_once(&program, signal, Signal::SIGALRM);
    assert!(matches!(ended, End::Code(_)), "{ended:?}: {}", sandbox.report());
    sandbox.assert_clean();
}
