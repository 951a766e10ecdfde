//! The log is renamed and another one begun, while everybody goes on: `--rotate`, SIGUSR1, `lbctl rotate`.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::{self, canonical_log, submissions};
use tests::{Ended, Process, Sandbox, in_namespace};

const CLIENTS: usize = 8;

fn lbctl(sandbox: &Sandbox, code: i32) -> Ended {
    let ended = sandbox.run("lbctl", &["rotate"]);
    sandbox.assert_code(&ended, code);
    ended
}

fn serve(sandbox: &Sandbox, args: &[&str]) -> Process {
    let balancer = sandbox.start("loadbalancer", &[&["--serve"], args].concat());
    sandbox.wait_until("the load balancer is there", || sandbox.has_balancer());
    balancer
}

fn drain(sandbox: &Sandbox, balancer: &mut Process) -> Ended {
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(balancer);
    sandbox.assert_code(&ended, 0);
    ended
}

/// Each log verifies by itself. Returns the submissions of all of them, in the order of the logs, and removes those
/// that were set aside.
fn all_submissions(sandbox: &Sandbox) -> Vec<String> {
    let mut all = Vec::new();
    let mut logs = sandbox.logs();
    logs.retain(|log| fs::metadata(log).is_ok_and(|log| log.len() > 0));
    for (i, log) in logs.iter().enumerate() {
        let text = fs::read_to_string(log).unwrap();
        // The same rules, without a process for each.
        let sessions = oracle::sessions(text.as_bytes());
        let sessions = sessions.unwrap_or_else(|wrong| panic!("{}: {wrong}", log.display()));
        assert!(!sessions.is_empty());
        if i % 20 == 0 {
            sandbox.ok("lbctl", &["verify", log.to_str().unwrap()]);
        }
        all.extend(submissions(&text));
        if *log != sandbox.log_path() {
            fs::remove_file(log).unwrap();
        }
    }
    all
}

/// Each client's submissions are there once, in its order.
fn assert_complete(sandbox: &Sandbox, clients: &[Ended]) {
    let all = all_submissions(sandbox);
    let mut accepted = 0;
    for (i, client) in clients.iter().enumerate() {
        sandbox.assert_code(client, 0);
        // Only its own would be true.
        assert!(!client.stderr.contains("no load balancer is running"), "{client:#?}");
        let said: Vec<_> =
            client.stdout.lines().map(|line| line.strip_prefix("accepted ").unwrap()).collect();
        let own = format!("client {i} ");
        let found: Vec<_> = all.iter().filter(|submission| submission.starts_with(&own)).collect();
        assert_eq!(found, said, "of client {i}{}", sandbox.report());
        accepted += said.len();
    }
    assert_eq!(all.len(), accepted, "nothing else is there");
}

/// Under load, by a service with workers of its own, and with workers by hand, which live through all of it.
#[rstest]
#[case::of_a_service(50, false)]
#[case::beside_workers_by_hand(10, true)]
fn eight_clients_lose_nothing_over_rotations(#[case] rotations: usize, #[case] by_hand: bool) {
    let sandbox = Sandbox::default();
    let hands = if by_hand { ["1", "2", "3"].as_slice() } else { &[] };
    let mut hands: Vec<_> = hands.iter().map(|k| sandbox.start("worker", &[k])).collect();
    let mut balancer = serve(&sandbox, if by_hand { &["--no-spawn", "3"] } else { &["3"] });
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|_| sandbox.start_with_pipe("client", &[])).collect();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for (i, client) in clients.iter_mut().enumerate() {
            let (mut stdin, enough) = (client.take_stdin(), &enough);
            scope.spawn(move || {
                for n in 1.. {
                    if enough.load(Ordering::Relaxed)
                        || writeln!(stdin, "client {i} {n};{}", 1 + n % 7).is_err()
                    {
                        break;
                    }
                    // More than that only makes the logs longer.
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let mut rotated = 0;
        sandbox.wait_until("it is rotated so often", || {
            let ended = sandbox.run("lbctl", &["rotate"]);
            // Just after a rotation there may be no other log, or nothing in it.
            let too_soon = ["is empty", "No such file"];
            let is_too_soon = too_soon.iter().any(|why| ended.stderr.contains(why));
            if !is_too_soon {
                sandbox.assert_code(&ended, 0);
                rotated += 1;
                assert_eq!(ended.stdout, format!("./sistem.log.{rotated}\n"), "{ended:#?}");
            }
            rotated == rotations
        });
        enough.store(true, Ordering::Relaxed);
    });
    let ended: Vec<_> = clients.iter_mut().map(|client| sandbox.end(client)).collect();
    drain(&sandbox, &mut balancer);
    for hand in &mut hands {
        // It has ended with the last session, or waits for the next one.
        hand.signal(Signal::SIGTERM);
        let ended = sandbox.end(hand);
        assert!(matches!(ended.status.code(), Some(0 | 143)), "{ended:#?}");
        assert!(ended.stderr.lines().count() <= 1, "it repeats what it waits for: {ended:#?}");
    }
    assert!(sandbox.logs().len() > rotations, "{}", sandbox.report());
    assert_complete(&sandbox, &ended);
    sandbox.assert_clean();
}

/// Clients that wait until all is executed, and a size that every session has.
#[test]
fn each_session_may_have_a_log_of_its_own() {
    let sandbox = Sandbox::default();
    let mut balancer = serve(&sandbox, &["--rotate=1", "2"]);
    let clients: Vec<_> = (0..2 * CLIENTS)
        .map(|i| sandbox.start("client", &["--wait", &format!("client {i} only;3")]))
        .collect();
    let ended: Vec<_> = clients.into_iter().map(|mut client| sandbox.end(&mut client)).collect();
    sandbox.wait_until("the last one is renamed", || sandbox.segment().is_none());
    drain(&sandbox, &mut balancer);
    assert!(sandbox.logs().len() > 1);
    assert_complete(&sandbox, &ended);
    sandbox.assert_clean();
}

#[test]
fn a_log_is_renamed_once_it_is_long_enough() {
    let sandbox = Sandbox::default();
    let log = canonical_log(&[("client 0 x", 10)], 3);
    // One session is shorter, two are not.
    let size = format!("--rotate={}", log.len() + 1);
    let mut balancer = serve(&sandbox, &[&size, "3"]);
    sandbox.ok("client", &["--wait", "client 0 x;10"]);
    assert_eq!(sandbox.logs(), [sandbox.log_path()]);
    sandbox.ok("client", &["--wait", "client 0 y;10"]);
    let aside = sandbox.dir().join("sistem.log.1");
    let told = || balancer.stderr().contains("the log was renamed; serving on");
    sandbox.wait_until("it is renamed, and said", || aside.exists() && told());
    drain(&sandbox, &mut balancer);
    assert_eq!(all_submissions(&sandbox), ["client 0 x;10", "client 0 y;10"]);
    sandbox.assert_clean();
}

/// What was accepted is executed first; who comes meanwhile waits, and is in the next log.
#[test]
fn two_ask_at_once_and_a_client_waits_for_them() {
    let sandbox = Sandbox::default();
    let script = "while ! [ -e $OUT/go ]; do sleep 0.01; done";
    let mut balancer = sandbox.start_work(&["--serve", "1"], &["sh", "-c", script]);
    sandbox.ok("client", &["before;1"]);
    sandbox.wait_until("it is begun", || sandbox.in_hand(1).is_some());
    let mut both = [(); 2].map(|()| sandbox.start("lbctl", &["rotate"]));
    sandbox.wait_until("one says that it waits", || both[0].stderr().contains("waiting until"));
    let mut client = sandbox.start("client", &["--wait", "after;1"]);
    sandbox.wait_until("it waits", || client.stderr().contains("the session before is ending"));
    sandbox.note("go");
    for one in &mut both {
        let ended = sandbox.end(one);
        sandbox.assert_code(&ended, 0);
        assert_eq!(ended.stdout, "./sistem.log.1\n", "{}", sandbox.report());
    }
    sandbox.assert_code(&sandbox.end(&mut client), 0);
    drain(&sandbox, &mut balancer);
    sandbox.assert_log(&canonical_log(&[("after", 1)], 1));
    assert_eq!(all_submissions(&sandbox), ["before;1", "after;1"]);
    sandbox.assert_clean();
}

/// `lbctl` does it then, unless that would tear a session apart.
#[test]
fn without_a_load_balancer() {
    let sandbox = Sandbox::default();
    assert!(lbctl(&sandbox, 3).stderr.contains("sistem.log: No such file"));
    sandbox.ok("client", &["a;1"]);
    let before = sandbox.log();
    assert!(lbctl(&sandbox, 3).stderr.contains("its session is unfinished"));
    sandbox.assert_log(&before);
    sandbox.ok("loadbalancer", &["1"]);
    let mut both = [(); 2].map(|()| sandbox.start("lbctl", &["rotate"]));
    let ended = both.each_mut().map(|one| sandbox.end(one));
    let renamed = ended.iter().filter(|ended| ended.stdout == "./sistem.log.1\n").count();
    assert!(renamed >= 1, "{ended:#?}");
    for ended in &ended {
        // Or it came when there was none any more.
        assert!(ended.status.success() || ended.stderr.contains("No such file"), "{ended:#?}");
    }
    assert_eq!(all_submissions(&sandbox), ["a;1"]);
    // One of them may have opened a new one, for which the other one's was renamed.
    sandbox.assert_clean();
}

/// A timer rang for ever, since nobody took the request.
#[test]
fn a_load_balancer_that_does_not_serve_says_so() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["1"]);
    sandbox.wait_until("its worker is there", || sandbox.has_worker(1));
    balancer.signal(Signal::SIGUSR1);
    sandbox.wait_until("it says so", || balancer.stderr().contains("with --serve"));
    sandbox.ok("client", &["a;1"]);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.matches("SIGUSR1").count(), 1, "{ended:#?}");
    sandbox.assert_log(&canonical_log(&[("a", 1)], 1));
    sandbox.assert_clean();

    sandbox.ok("client", &["b;1"]);
    // It has a worker to wait for.
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("it is there", || sandbox.has_balancer());
    assert!(lbctl(&sandbox, 3).stderr.contains("runs without --serve"));
    sandbox.ok("worker", &["1"]);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
}

/// A letter's id tells its session, so the log that its message was in may be another one by now.
#[test]
fn dead_letters_outlive_their_log() {
    let sandbox = Sandbox::default();
    let work = ["sh", "-c", "[ -e $OUT/works ] || exit 65"];
    let mut balancer = sandbox.start_work(&["--serve", "1"], &work);
    sandbox.assert_code(&sandbox.run("client", &["--wait", "a;1"]), 1);
    lbctl(&sandbox, 0);
    let listed = sandbox.ok("lbctl", &["dead", "list"]).stdout;
    let id = listed.split(' ').next().unwrap();
    sandbox.note("works");
    sandbox.ok("lbctl", &["dead", "retry", id]);
    lbctl(&sandbox, 0);
    assert_eq!(sandbox.ok("lbctl", &["dead", "list"]).stdout, "");
    balancer.signal(Signal::SIGTERM);
    // It has had dead messages.
    sandbox.assert_code(&sandbox.end(&mut balancer), 1);
    assert_eq!(all_submissions(&sandbox), ["a;1", "a;1"]);
    let _ = sandbox.take_letters();
    fs::remove_file(sandbox.dir().join("sistem.dead.settled")).unwrap();
    sandbox.assert_clean();
}

/// A mount point cannot be renamed. That is no reason to end, nor to try it all the time, nor never again.
#[test]
fn a_log_that_cannot_be_renamed_goes_on() {
    in_namespace("a_log_that_cannot_be_renamed_goes_on", CloneFlags::CLONE_NEWNS, || {
        let sandbox = Sandbox::default();
        let log = canonical_log(&[("client 0 x", 10)], 1);
        // Its total comes with the end.
        let size = log.find("Worker 1:").unwrap();
        fs::write(sandbox.log_path(), "").unwrap();
        let none = None::<&str>;
        mount(Some(&sandbox.log_path()), &sandbox.log_path(), none, MsFlags::MS_BIND, none)
            .unwrap();
        let mut balancer = serve(&sandbox, &[&format!("--rotate={size}"), "1"]);
        sandbox.ok("client", &["--wait", "client 0 x;10"]);
        sandbox.wait_until("it says so", || balancer.stderr().contains("it is a mount point"));
        // Not twice as long, so it is not tried again.
        sandbox.ok("client", &["--wait", "client 0 y;9"]);
        assert_eq!(balancer.stderr().matches("is not rotated").count(), 1);
        // Who asks for it waited for ever.
        let ended = sandbox.run("lbctl", &["rotate"]);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("does not rename it"), "{ended:#?}");
        umount2(&sandbox.log_path(), MntFlags::MNT_DETACH).unwrap();
        // Now it is, and it can be.
        sandbox.ok("client", &["--wait", "client 0 z;10"]);
        sandbox.wait_until("it is renamed", || sandbox.logs().len() > 1);
        drain(&sandbox, &mut balancer);
        assert_eq!(all_submissions(&sandbox).len(), 3);
    });
}

/// A client and a load balancer tried again for ever, busily, and heeded no signal.
#[test]
fn a_session_whose_log_was_moved_away_was_waited_for() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;1"]);
    let moved = sandbox.dir().join("moved");
    fs::rename(sandbox.log_path(), &moved).unwrap();
    for (program, args) in [("loadbalancer", ["1"]), ("client", ["b;1"])] {
        let ended = sandbox.run(program, &args);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("put it back"), "{ended:#?}");
    }
    fs::rename(moved, sandbox.log_path()).unwrap();
    sandbox.ok("loadbalancer", &["1"]);
    sandbox.assert_log(&canonical_log(&[("a", 1)], 1));
    sandbox.assert_clean();
}
