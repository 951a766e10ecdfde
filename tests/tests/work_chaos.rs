//! What rounds with work of `cargo xtask crash --random` found, each reduced to the shortest way to it.
#![forbid(unsafe_code)]

use nix::sys::signal::Signal;
use tests::{Binaries, Sandbox};

/// A kept COMMAND that ends closes its pipes a moment before that is seen. Without `--grace` it was blamed for that, and
/// exit code 127, which says that it cannot be run, cost messages their lives.
#[test]
fn a_kept_command_that_ends_is_judged_by_how() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;100"]);
    let ended = sandbox.work_sh(&["--lines", "--grace", "0", "1"], "read line; exit 3");
    sandbox.assert_code(&ended, 1);
    let letters = sandbox.take_letters();
    assert_eq!(letters.len(), 100);
    for letter in letters {
        assert_eq!(letter.outcome, "ended without an answer: exit code 3", "{letter:?}");
    }
}

/// What was to be ended before a kept COMMAND could be started again took longer than `--timeout`, and that was
/// counted from before it: the message was dead without having had any time.
#[test]
fn a_message_has_its_time_whatever_was_to_be_ended_before() {
    let sandbox = Sandbox::default();
    // It ends after each answer, and leaves a child that does not heed SIGTERM.
    let script = r#"IFS="	" read -r id rest
        (trap "" TERM; while :; do sleep 0.01; done) > /dev/null &
        printf "%s\tok\n" "$id""#;
    let args = ["--serve", "--lines", "--grace", "2", "--timeout", "1", "1"];
    let mut balancer = sandbox.start_work(&args, &["sh", "-c", script]);
    for message in ["a;1", "b;1"] {
        sandbox.ok("client", &["--wait", message]);
    }
    let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_clean();
}

/// A message killed its worker for the third time, and nothing was to be executed after it: so no COMMAND was started
/// any more, and only before that it was looked for what had closed the descriptor with the lock. It outlived the
/// session.
#[test]
fn nothing_is_left_of_a_last_message_that_killed_its_worker() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;1"]);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    // A child that leaves its family, and closes all but a descriptor that it does not have.
    let script = r#"read -r line; "$0" daemon 20000 c 99; kill -KILL $PPID; sleep 20"#;
    let unruly = Binaries::unruly().to_str().unwrap();
    for life in 1..=4 {
        let command = sandbox.with_work("worker", &["--lines", "1"], &["sh", "-c", script, unruly]);
        let ended = sandbox.end(&mut sandbox.start_command(command, "worker 1"));
        assert_eq!(ended.status.success(), life == 4, "life {life}: {ended:?}{}", sandbox.report());
    }
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 1);
    assert_eq!(sandbox.take_letters().len(), 1);
    sandbox.assert_clean();
}
