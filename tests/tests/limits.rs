//! What the system refuses, at a few fixed places. `cargo xtask crash --limits` tries all of them.
#![forbid(unsafe_code)]

use std::process::{Command, Output, Stdio};

use common::instance::directory::Directory;
use common::instance::objects;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::{Sandbox, in_namespace};

const SAMPLE: &str = include_str!("sample.log");

/// A program that may not make files longer than `bytes`. Its output goes through pipes, since files
/// would fall under the limit too.
fn with_file_size(sandbox: &Sandbox, bytes: usize, program: &str, args: &[&str]) -> Command {
    let path = sandbox.command(program, args).get_program().to_owned();
    let mut command = Command::new("prlimit"); // of util-linux, as `kill` and `mount`
    command.arg(format!("--fsize={bytes}")).arg("--").arg(path).args(args);
    command.current_dir(sandbox.dir()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn assert_clear_error(output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && words.contains("File too large"), "{output:?}");
}

/// Whole lines, unless a process died inside a write: then the next one completes them.
fn assert_whole_lines(sandbox: &Sandbox) {
    let log = sandbox.log();
    let directory = Directory::open(&sandbox.dir()).unwrap();
    let is_pending = || {
        objects::find_ledger(&directory).is_ok_and(|l| l.is_some_and(|ledger| ledger.is_pending()))
    };
    let whole = log.is_empty() || log.ends_with('\n') || is_pending();
    assert!(SAMPLE.starts_with(&log) && whole, "{}", sandbox.report());
}

#[rstest]
fn a_client_that_may_not_write_is_not_accepted(#[values(0, 1, 27, 28, 29, 45)] bytes: usize) {
    let sandbox = Sandbox::default();
    let output = with_file_size(&sandbox, bytes, "client", &["Halo A;10"]).output().unwrap();
    assert_clear_error(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not accepted"), "{output:?}");
    assert_eq!(sandbox.log(), "");
    sandbox.assert_clean();
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.ok("loadbalancer", &["3"]);
    assert_eq!(sandbox.log(), SAMPLE);
    sandbox.assert_clean();
}

#[rstest]
fn a_balancer_that_may_not_write_is_finished_by_the_next(
    #[values(0, 46, 47, 82, 83, 400, 650, 729)] bytes: usize,
) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let output = with_file_size(&sandbox, bytes, "loadbalancer", &["3"]).output().unwrap();
    assert_clear_error(&output);
    sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());
    assert_whole_lines(&sandbox);
    sandbox.ok("loadbalancer", &["3"]);
    assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
    sandbox.assert_clean();
}

#[rstest]
fn a_worker_that_may_not_write_is_started_again_by_hand(#[values(46, 400, 500)] bytes: usize) {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    let mut limited = with_file_size(&sandbox, bytes, "worker", &["1"]).spawn().unwrap();
    let mut others = ["2", "3"].map(|k| sandbox.start("worker", &[k]));
    sandbox.ok("client", &["Halo A;10"]);
    // Whoever is first writes the lines of all: the balancer may get through without it.
    sandbox.wait_until("worker 1 or the balancer ends", || {
        limited.try_wait().unwrap().is_some() || !balancer.is_running()
    });
    let output = limited.wait_with_output().unwrap();
    let mut again = None;
    if !output.status.success() {
        assert_clear_error(&output);
        again = Some(sandbox.start("worker", &["1"]));
    }
    for process in others.iter_mut().chain([&mut balancer]) {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    if let Some(mut again) = again {
        // If only its total was missing, the session ended without it: it waits for the next one.
        sandbox.wait_until("it ends, or waits", || !again.is_running() || sandbox.has_worker(1));
        again.signal(Signal::SIGTERM);
        sandbox.end(&mut again);
    }
    assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
    sandbox.assert_clean();
}

#[test]
fn a_full_disk_refuses_the_client_and_is_waited_for_by_the_balancer() {
    in_namespace(
        "a_full_disk_refuses_the_client_and_is_waited_for_by_the_balancer",
        CloneFlags::CLONE_NEWNS,
        || {
            let mut sandbox = Sandbox::default();
            sandbox.set_room(4 << 10).unwrap();
            let refused = sandbox.run("client", &[&format!("{};1", "x".repeat(4090))]);
            sandbox.assert_code(&refused, 3);
            assert!(refused.stderr.contains("not accepted"), "{refused:#?}");
            assert_eq!(sandbox.log(), "");
            sandbox.assert_clean();
            sandbox.ok("client", &["Halo A;1000"]);
            let mut balancer = sandbox.start("loadbalancer", &["3"]);
            sandbox
                .wait_until("the disk is full", || balancer.stderr().contains("waiting for room"));
            // Not in the middle of an attempt, which is taken back.
            let log = std::fs::File::open(sandbox.log_path()).unwrap();
            log.lock().unwrap();
            assert!(sandbox.log().ends_with('\n'), "{}", sandbox.report());
            log.unlock().unwrap();
            sandbox.set_room(1 << 20).unwrap();
            let ended = sandbox.end(&mut balancer);
            sandbox.assert_code(&ended, 0);
            assert_eq!(ended.stderr.matches("waiting for room").count(), 1, "{ended:#?}");
            let log = sandbox.log();
            assert_eq!(log.lines().count(), 2 + 2000 + 3, "{}", sandbox.report());
            assert!(log.ends_with("Worker 3: 333 messages\n"), "{}", sandbox.report());
            sandbox.assert_clean();
        },
    );
}

#[test]
fn missing_message_queues_are_named_and_the_next_start_finishes() {
    in_namespace("missing_message_queues_are_named", CloneFlags::CLONE_NEWIPC, || {
        let sandbox = Sandbox::default();
        let limit = |number: &str| std::fs::write("/proc/sys/kernel/msgmni", number).unwrap();
        sandbox.ok("client", &["Halo A;10"]);
        limit("2");
        let ended = sandbox.run("loadbalancer", &["3"]);
        sandbox.assert_code(&ended, 3);
        let why = "no more message queues: remove unused ones (`ipcs -q`, `ipcrm -q ID`) or raise kernel.msgmni";
        assert!(ended.stderr.contains(why), "{ended:#?}");
        sandbox.wait_until("its workers are gone", || sandbox.processes().is_empty());
        limit("3");
        sandbox.ok("loadbalancer", &["3"]);
        assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
        sandbox.assert_clean();
    });
}

/// Limits of old distributions: one had no hint, and the others' named the queues' limit.
#[rstest]
#[case::size("shmmax", "524288", "kernel.shmmax")]
#[case::number("shmmni", "0", "kernel.shmmni (how many)")]
#[case::pages("shmall", "16", "kernel.shmall (pages of all)")]
fn a_limit_on_shared_memory_was_named_wrongly(
    #[case] name: &str,
    #[case] low: &str,
    #[case] says: &str,
) {
    in_namespace("a_limit_on_shared_memory_was_named_wrongly", CloneFlags::CLONE_NEWIPC, || {
        let sandbox = Sandbox::default();
        std::fs::write(format!("/proc/sys/kernel/{name}"), low).unwrap();
        let ended = sandbox.run("client", &["Halo A;10"]);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains(says), "{ended:#?}");
        assert!(!ended.stderr.contains("msgmni"), "{ended:#?}");
    });
}

/// Enough files for the log, and none for a worker's start: it tries again, until it is asked to end.
#[test]
fn too_few_open_files_end_with_an_error_when_asked() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let path = sandbox.command("loadbalancer", &[]).get_program().to_owned();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=5").arg("--").arg(path).arg("3").current_dir(sandbox.dir());
    let mut balancer = sandbox.start_command(command, "loadbalancer 3");
    let told =
        "loadbalancer: cannot start worker 3: Too many open files (os error 24); trying again\n";
    sandbox.wait_until("it says so", || balancer.stderr().contains(told));
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("; the session stays unfinished\n"), "{ended:#?}");
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

#[test]
fn a_worker_that_always_dies_at_its_start_is_given_up() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let ended = sandbox.run("loadbalancer", &["--worker-program", "/bin/false", "3"]);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("5 times in a row"), "{ended:#?}");
    sandbox.wait_until("the last of them is gone", || sandbox.processes().is_empty());
    sandbox.ok("loadbalancer", &["3"]);
    assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
    sandbox.assert_clean();
}

/// A log that may only grow, on which a write was cut short: what is there can be taken back by nobody. The
/// client said "not accepted", and the next one found half a line and ended.
#[test]
fn what_could_not_be_taken_back_was_called_not_accepted() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["first;1"]);
    let chattr = |attribute: &str| {
        let set = Command::new("chattr").arg(attribute).arg(sandbox.log_path()).output();
        set.is_ok_and(|output| output.status.success())
    };
    if !chattr("+a") {
        eprintln!("skipped: only root can have an append-only file, and not everywhere");
        return;
    }
    let before = sandbox.log_len();
    let limit = usize::try_from(before).unwrap() + 10;
    let output = with_file_size(&sandbox, limit, "client", &["Halo A;3"]).output().unwrap();
    let cut_short = sandbox.log_len() > before;
    let completed = sandbox.run("client", &["last;1"]);
    let ended = sandbox.run("loadbalancer", &["2"]);
    assert!(chattr("-a"));
    assert!(cut_short, "{output:?}");
    assert_clear_error(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("client: may have been accepted: Halo A;3"), "{said}");
    assert!(!said.contains("not accepted") && output.stdout.is_empty(), "{output:?}");
    sandbox.assert_code(&completed, 0);
    sandbox.assert_code(&ended, 0);
    let submissions = [("first", 1), ("Halo A", 3), ("last", 1)];
    sandbox.assert_log(&tests::oracle::canonical_log(&submissions, 2));
    sandbox.assert_clean();
}
