//! Workers that stop, hang or do not even start: reported, replaced, or a clear error.
#![forbid(unsafe_code)]

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rstest::rstest;
use tests::Sandbox;
use tests::oracle::canonical_log;

#[test]
fn a_stopped_worker_is_reported_killed_and_replaced() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.ok("client", &["first;3"]);
    sandbox.wait_until("all workers work", || sandbox.log().contains("Worker3: message received"));
    let stopped = Pid::from_raw(sandbox.spawned_worker(2).unwrap());
    sandbox.stop(stopped.as_raw());
    sandbox.ok("client", &["second;30000"]);
    sandbox.wait_until("it is reported", || {
        balancer.stderr().contains(&format!("worker 2 (process {stopped}) is stopped"))
    });
    sandbox.wait_until("it is replaced", || {
        sandbox.spawned_worker(2).is_some_and(|pid| pid != stopped.as_raw())
    });
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    assert_eq!(sandbox.sessions()[0].shares, [10_001, 10_001, 10_001]);
    sandbox.assert_clean();
}

/// A worker started by hand is its owner's: the balancer waits for it.
#[test]
fn a_stopped_worker_started_by_hand_is_waited_for() {
    let sandbox = Sandbox::default();
    let mut workers = ["1", "2"].map(|k| sandbox.start("worker", &[k]));
    sandbox.ok("client", &["Halo A;4"]);
    sandbox.wait_until("worker 2 is there", || sandbox.has_worker(2));
    sandbox.stop(workers[1].pid());
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "2"]);
    let expected = canonical_log(&[("Halo A", 4)], 2);
    sandbox.wait_for_log(expected.find("Worker2:").unwrap() as u64);
    // Ctrl-Z: nobody was informed.
    let told = "loadbalancer: worker 2 makes no progress: 2 messages wait for it; it seems to be stopped: \
                continue or end it\n";
    sandbox.wait_until("it is reported", || balancer.stderr().contains(told));
    assert!(balancer.is_running(), "{}", sandbox.report());
    workers[1].signal(Signal::SIGCONT);
    for process in workers.iter_mut().chain([&mut balancer]) {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.assert_log(&expected);
    sandbox.assert_clean();
}

/// Stopped where nothing but its total was missing: nobody was informed either.
#[test]
fn a_total_that_a_stopped_worker_owes_is_asked_for() {
    let sandbox = Sandbox::default();
    let mut workers = ["1", "2"].map(|k| sandbox.start("worker", &[k]));
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "--no-spawn", "2"]);
    sandbox.ok("client", &["Halo A;4"]);
    sandbox.wait_until("all is executed", || sandbox.log().matches(": message").count() == 4);
    sandbox.stop(workers[1].pid());
    balancer.signal(Signal::SIGTERM);
    let told = "loadbalancer: worker 2 makes no progress: its total is missing; it seems to be stopped: \
                continue or end it\n";
    sandbox.wait_until("it is reported", || balancer.stderr().contains(told));
    workers[1].signal(Signal::SIGCONT);
    for process in workers.iter_mut().chain([&mut balancer]) {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.assert_log(&canonical_log(&[("Halo A", 4)], 2));
    sandbox.assert_clean();
}

/// In a debugger, or frozen with its container: alive, and not stopped by a signal. Nobody was informed.
#[rstest]
#[case::at_work(false, "2 messages wait for it")]
#[case::at_the_end(true, "its total is missing")]
fn a_worker_that_is_held_was_waited_for_without_a_word(
    #[case] at_the_end: bool,
    #[case] what: &str,
) {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "2"]);
    sandbox.wait_until("worker 1 runs", || sandbox.has_worker(1));
    if at_the_end {
        sandbox.ok("client", &["Halo A;4"]);
        sandbox.wait_until("all is executed", || sandbox.log().matches(": message").count() == 4);
    }
    let worker = Pid::from_raw(sandbox.spawned_worker(1).unwrap());
    ptrace::seize(worker, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(worker).unwrap();
    waitpid(worker, Some(WaitPidFlag::__WALL)).unwrap();
    if at_the_end {
        balancer.signal(Signal::SIGTERM);
    } else {
        sandbox.ok("client", &["Halo A;4"]);
    }
    let told = format!(
        "loadbalancer: worker 1 makes no progress: {what}; process {worker} is traced: continue or end it\n"
    );
    sandbox.wait_until("it is reported", || balancer.stderr().contains(&told));
    ptrace::detach(worker, None).unwrap();
    if !at_the_end {
        balancer.signal(Signal::SIGTERM);
    }
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.matches("makes no progress").count(), 1, "{ended:#?}");
    sandbox.assert_log(&canonical_log(&[("Halo A", 4)], 2));
    sandbox.assert_clean();
}

/// What is in the file that `--worker-program` names, its mode, and what is said.
#[rstest]
#[case::is_missing("", "", "No such file or directory (os error 2)")]
#[case::may_not_be_executed("#!/bin/sh\n", "600", "Permission denied (os error 13)")]
#[case::is_no_program("junk", "700", "Exec format error (os error 8)")]
#[case::has_no_interpreter(
    "#!/nonexistent\n",
    "700",
    "No such file or directory (os error 2) (of its #! line)"
)]
fn a_worker_program_that_cannot_be_started(
    #[case] content: &str,
    #[case] mode: &str,
    #[case] says: &str,
) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let program = sandbox.dir().join("program");
    if !mode.is_empty() {
        write_program(&program, content, mode);
    }
    let name = program.to_str().unwrap();
    let ended = sandbox.run("loadbalancer", &["--worker-program", name, "3"]);
    sandbox.assert_code(&ended, 3);
    let option = "; name one that can be started with --worker-program";
    assert_eq!(
        ended.stderr,
        format!("loadbalancer: worker 1: cannot start {name}: {says}{option}\n")
    );
    let _ = std::fs::remove_file(program);
    finish(&sandbox);
}

/// A shell script that waits for the worker, `timeout`, `strace`: it said that the load balancer, which lived,
/// was gone.
#[rstest]
#[case::does_not_exec(
    "\"$REAL\" \"$@\"; exit $?",
    Some("what --worker-program names must exec the worker")
)]
#[case::execs("exec \"$REAL\" \"$@\"", None)]
#[case::ends("exit 1", Some("ended 5 times in a row without any progress"))]
fn a_wrapper_of_the_worker(#[case] script: &str, #[case] says: Option<&str>) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let wrapper = sandbox.dir().join("wrapper");
    write_program(&wrapper, &format!("#!/bin/sh\n{script}\n"), "700");
    let mut command = sandbox.command("loadbalancer", &["--worker-program", "./wrapper", "3"]);
    command.env("REAL", sandbox.command("worker", &[]).get_program());
    let ended = sandbox.end(&mut sandbox.start_command(command, "loadbalancer"));
    std::fs::remove_file(wrapper).unwrap();
    let Some(says) = says else {
        sandbox.assert_code(&ended, 0);
        return sandbox.assert_log(include_str!("sample.log"));
    };
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains(says) && !ended.stderr.contains("is gone"), "{ended:#?}");
    finish(&sandbox);
}

/// Written by another process: a file that this one writes is open for a moment in what other tests start, and
/// such a program cannot be executed (ETXTBSY).
fn write_program(path: &std::path::Path, content: &str, mode: &str) {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"printf %s "$1" >"$0" && chmod "$2" "$0""#]).arg(path);
    assert!(command.args([content, mode]).status().unwrap().success());
}

/// The session is none the worse.
fn finish(sandbox: &Sandbox) {
    sandbox.wait_until("the last of them is gone", || sandbox.processes().is_empty());
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// A container's PID 1 gets every orphan, and a program that replaced a shell its jobs.
#[test]
fn children_that_are_no_workers_stayed_zombies() {
    let sandbox = Sandbox::default();
    let program = sandbox.command("loadbalancer", &[]).get_program().to_owned();
    let script = r#"true & echo $!; sleep 1000 & echo $!; exec "$0" --serve 2"#;
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(script).arg(program).current_dir(sandbox.dir());
    let mut balancer = sandbox.start_command(command, "exec loadbalancer --serve 2");
    sandbox.wait_until("both workers are there", || [1, 2].iter().all(|&k| sandbox.has_worker(k)));
    let children: Vec<i32> = balancer.stdout().lines().map(|pid| pid.parse().unwrap()).collect();
    let is_there = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let worker = sandbox.spawned_worker(1).unwrap();
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    kill(Pid::from_raw(children[1]), Signal::SIGKILL).unwrap();
    sandbox.wait_until("they are reaped", || !children.iter().any(is_there));
    // How a worker ended is not lost by it.
    sandbox.wait_until("its end is reported", || {
        balancer.stderr().contains(&format!("worker 1 (process {worker}) ended: signal: 9"))
    });
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_clean();
}
