//! The log renamed, removed, truncated or written to by others while its session runs: a clear error,
//! nothing is written over, and once it is put right the next start finishes it.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::Write;

use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Ended, Process, Sandbox};

/// What the log holds when `waiting` is finished.
fn expected() -> String {
    let without_totals = |text, count| {
        let log = canonical_log(&[(text, count)], 3);
        log[..log.find("Worker 1: ").unwrap()].to_owned()
    };
    without_totals("first", 3)
        + &without_totals("Halo A", 10)
        + "Worker 1: 5 messages\nWorker 2: 4 messages\nWorker 3: 4 messages\n"
}

/// A session that waits for its third worker, which is stopped; and the log that it has until then.
struct Waiting {
    sandbox: Sandbox,
    /// The balancer, and the workers.
    running: Vec<Process>,
    before: String,
}

fn waiting() -> Waiting {
    let sandbox = Sandbox::default();
    let mut running = vec![sandbox.start("loadbalancer", &["--serve", "--no-spawn", "3"])];
    running.extend(["1", "2", "3"].map(|k| sandbox.start("worker", &[k])));
    sandbox.ok("client", &["first;3"]);
    sandbox.wait_until("all work", || sandbox.log().contains("Worker3: message received\n"));
    sandbox.stop(running[3].pid());
    sandbox.ok("client", &["Halo A;10"]);
    let expected = expected();
    let before = expected[..expected.match_indices("Worker3: ").nth(1).unwrap().0].to_owned();
    sandbox.wait_for_log(before.len() as u64);
    Waiting { sandbox, running, before }
}

impl Waiting {
    /// The third worker goes on, after which somebody must write. Returns the balancer's end, and the
    /// workers'.
    fn go_on(&mut self) -> Vec<Ended> {
        self.running[3].signal(Signal::SIGCONT);
        let balancer = self.sandbox.end(&mut self.running[0]);
        let mut ended = vec![balancer];
        for process in &mut self.running[1..] {
            process.signal(Signal::SIGTERM);
            ended.push(self.sandbox.end(process));
        }
        ended
    }

    fn assert_refused(&self, ended: &[Ended], says: &str) {
        self.sandbox.assert_code(&ended[0], 3);
        assert!(ended[0].stderr.contains(says), "{says}: {ended:#?}");
        for ended in ended {
            assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
        }
    }

    fn finish(&self) {
        self.sandbox.ok("loadbalancer", &["3"]);
        self.sandbox.assert_log(&expected());
        self.sandbox.assert_clean();
    }
}

#[test]
fn appended_to() {
    let mut waiting = waiting();
    let log = waiting.sandbox.log_path();
    OpenOptions::new().append(true).open(&log).unwrap().write_all(b"hello\n").unwrap();
    let ended = waiting.go_on();
    waiting.assert_refused(&ended, &format!("from byte {} on", waiting.before.len()));
    assert_eq!(waiting.sandbox.log(), format!("{}hello\n", waiting.before));
    // What the message says to do.
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(waiting.before.len() as u64).unwrap();
    waiting.finish();
}

#[rstest]
#[case::by_a_byte(1)]
#[case::by_a_line(26)]
#[case::by_many_lines(300)]
#[case::to_nothing(usize::MAX)]
fn truncated(#[case] by: usize) {
    let mut waiting = waiting();
    let len = waiting.before.len().saturating_sub(by);
    let file = OpenOptions::new().write(true).open(waiting.sandbox.log_path()).unwrap();
    file.set_len(len as u64).unwrap();
    let ended = waiting.go_on();
    waiting.assert_refused(&ended, "it was truncated; put the missing bytes back");
    assert_eq!(waiting.sandbox.log(), waiting.before[..len]);
    let mut file = OpenOptions::new().append(true).open(waiting.sandbox.log_path()).unwrap();
    file.write_all(&waiting.before.as_bytes()[len..]).unwrap();
    waiting.finish();
}

#[test]
fn renamed_and_put_back() {
    let mut waiting = waiting();
    let log = waiting.sandbox.log_path();
    let aside = waiting.sandbox.dir().join("elsewhere");
    std::fs::rename(&log, &aside).unwrap();
    let ended = waiting.go_on();
    waiting.assert_refused(&ended, "sistem.log was renamed, removed or replaced");
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), waiting.before);
    assert!(!log.exists(), "nobody makes another one");
    std::fs::rename(&aside, &log).unwrap();
    waiting.finish();
}

#[test]
fn removed() {
    let mut waiting = waiting();
    std::fs::remove_file(waiting.sandbox.log_path()).unwrap();
    let ended = waiting.go_on();
    waiting.assert_refused(&ended, "sistem.log was renamed, removed or replaced");
    // It cannot be put back: the session is set aside, as the message says.
    let mut fresh = waiting.sandbox.start("loadbalancer", &["--fresh", "3"]);
    waiting.sandbox.wait_until("it runs", || waiting.sandbox.has_worker(3));
    waiting.sandbox.ok("client", &["Halo A;10"]);
    waiting.sandbox.assert_code(&waiting.sandbox.end(&mut fresh), 0);
    waiting.sandbox.assert_log(include_str!("sample.log"));
    waiting.sandbox.assert_clean();
}

#[test]
fn replaced_by_a_copy() {
    let mut waiting = waiting();
    let log = waiting.sandbox.log_path();
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, &waiting.before).unwrap();
    let ended = waiting.go_on();
    waiting.assert_refused(&ended, "sistem.log was renamed, removed or replaced");
    assert_eq!(waiting.sandbox.log(), waiting.before);
}

/// A client is asked too, and nothing counts as accepted.
#[test]
fn a_client_is_not_accepted() {
    let waiting = waiting();
    let log = waiting.sandbox.log_path();
    OpenOptions::new().append(true).open(&log).unwrap().write_all(b"hello\n").unwrap();
    let ended = waiting.sandbox.run("client", &["Halo B;1"]);
    waiting.sandbox.assert_code(&ended, 3);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("another program wrote to sistem.log"), "{ended:#?}");
    assert_eq!(waiting.sandbox.log(), format!("{}hello\n", waiting.before));
}

/// A foreign program may hold the log's lock for a while, as the original does.
#[test]
fn locked_by_others_for_a_while() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let file = std::fs::File::open(sandbox.log_path()).unwrap();
    file.lock().unwrap();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_until("it says who holds it", || {
        balancer.stderr().contains(&format!("process {} has locked", std::process::id()))
    });
    assert!(balancer.is_running());
    file.unlock().unwrap();
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// A shell's file keeps the lock that flock(1) took on it. The message advised the user to end flock(1), which was
/// gone: the number is free for any other process.
#[test]
fn a_dead_process_was_named_as_the_locks_holder() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let mut command = std::process::Command::new("sh"); // flock is of util-linux
    command.arg("-c").arg("exec 9<sistem.log; flock 9; exec sleep 1000").current_dir(sandbox.dir());
    let mut holder = sandbox.start_command(command, "flock");
    let log = std::fs::File::open(sandbox.log_path()).unwrap();
    sandbox.wait_until("it is locked", || match log.try_lock() {
        Ok(()) => log.unlock().is_err(),
        Err(_) => true,
    });
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_until("it says that it waits", || balancer.stderr().contains("has locked"));
    let told = balancer.stderr();
    assert_eq!(told, "waiting: another process has locked sistem.log\n", "{}", sandbox.report());
    holder.kill();
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// Log rotation between sessions. A service that waited for its first submission ended, or was there for nobody.
#[rstest]
fn a_service_that_waits_goes_on_with_the_log_that_took_the_place(
    #[values("renamed", "removed", "replaced")] how: &str,
    #[values(false, true)] by_hand: bool,
) {
    let sandbox = Sandbox::default();
    let (log, aside) = (sandbox.log_path(), sandbox.dir().join("rotated"));
    sandbox.ok("client", &["first;3"]);
    sandbox.ok("loadbalancer", &["3"]);
    let mut running = Vec::new();
    if by_hand {
        running.extend(["1", "2", "3"].map(|k| sandbox.start("worker", &[k])));
    }
    let args: &[_] = if by_hand { &["--serve", "--no-spawn", "3"] } else { &["--serve", "3"] };
    running.insert(0, sandbox.start("loadbalancer", args));
    sandbox.wait_until("it serves", || [1, 2, 3].iter().all(|&k| sandbox.has_worker(k)));
    std::fs::rename(&log, &aside).unwrap();
    let before = std::fs::read_to_string(&aside).unwrap();
    match how {
        "removed" => std::fs::remove_file(&aside).unwrap(),
        "replaced" => std::fs::write(&log, "").unwrap(),
        _ => {}
    }
    sandbox.ok("client", &["Halo A;10"]);
    let expected = include_str!("sample.log");
    sandbox.wait_for_log(expected.find("Worker 1: ").unwrap() as u64);
    running[0].signal(Signal::SIGTERM);
    for process in &mut running {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    sandbox.assert_log(expected);
    if how != "removed" {
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), before, "{}", sandbox.report());
        std::fs::remove_file(&aside).unwrap();
    }
    sandbox.assert_clean();
}

/// logrotate's copytruncate, while nothing is written: nobody noticed before the next submission.
#[test]
fn a_log_cut_under_an_idle_service_was_noticed_by_nobody() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let mut service = sandbox.start("loadbalancer", &["--serve", "3"]);
    let all = include_str!("sample.log");
    sandbox.wait_for_log(all.find("Worker 1: ").unwrap() as u64);
    OpenOptions::new().write(true).open(sandbox.log_path()).unwrap().set_len(0).unwrap();
    let ended = sandbox.end(&mut service);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("it was truncated"), "{ended:#?}");
}

/// The log was renamed while a client waited for its next line, and no session was there: refused, with the advice to
/// put back a log that was complete.
#[test]
fn a_client_that_feeds_goes_on_with_the_log_that_took_the_place() {
    let sandbox = Sandbox::default();
    let mut client = sandbox.start_with_pipe("client", &[]);
    let mut pipe = client.take_stdin();
    sandbox.wait_until("it has its role", || sandbox.is_held(common::instance::role::Role::Client));
    let aside = sandbox.dir().join("rotated");
    std::fs::rename(sandbox.log_path(), &aside).unwrap();
    pipe.write_all(b"Halo A;9\nHalo A;1\n").unwrap();
    drop(pipe);
    let ended = sandbox.end(&mut client);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "accepted Halo A;9\naccepted Halo A;1\n");
    assert!(ended.stderr.starts_with("client: accepted; no load balancer"), "{ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    std::fs::remove_file(aside).unwrap();
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(&canonical_log(&[("Halo A", 9), ("Halo A", 1)], 3));
    sandbox.assert_clean();
}

/// A finished log that was restored under a waiting service, piece by piece: half of it was taken for an unfinished
/// session, cut, and executed again.
#[test]
fn a_log_that_is_being_restored_is_no_session() {
    let sandbox = Sandbox::default();
    let mut service = sandbox.start("loadbalancer", &["--serve", "1"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(1));
    let whole = canonical_log(&[("x", 1000)], 1);
    let (half, rest) = whole.split_at(whole.len() / 2);
    let mut log = OpenOptions::new().append(true).open(sandbox.log_path()).unwrap();
    // The service has looked when it was woken again; asked before, or that look would be waited for a second long, and
    // after a second without a write the log is taken for whole.
    let calls = || std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let woken = |status: String| {
        let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap().to_owned();
        line.rsplit_once('\t').unwrap().1.parse::<u64>().unwrap()
    };
    let before = woken(calls());
    log.write_all(half.as_bytes()).unwrap();
    sandbox.wait_until("it has looked", || woken(calls()) > before);
    log.write_all(rest.as_bytes()).unwrap();
    sandbox.ok("client", &["Halo A;1"]);
    let all = format!("{whole}{}", canonical_log(&[("Halo A", 1)], 1));
    sandbox.wait_for_log(all.rfind("Worker 1: ").unwrap() as u64);
    service.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut service), 0);
    sandbox.assert_log(&all);
    sandbox.assert_clean();
}
