//! What the programs tell people: that they are not stuck, what they wait for and what to type, and what was done.
//! Each once.
#![forbid(unsafe_code)]

#[expect(dead_code, reason = "watch.rs uses the rest of it")]
mod terminal;

use std::io::Write as _;

use nix::sys::signal::Signal;
use rstest::rstest;
use tests::{Process, Sandbox};

use terminal::Terminal;

/// What a program has printed on standard error so far has this, and no line twice.
fn wait_for(sandbox: &Sandbox, process: &Process, words: &str) {
    sandbox.wait_until(words, || process.stderr().contains(words));
    assert_each_line_once(&process.stderr());
}

fn assert_each_line_once(stderr: &str) {
    let mut lines: Vec<&str> = stderr.lines().collect();
    lines.sort_unstable();
    let all = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), all, "a line is there twice: {stderr}");
}

fn on_terminal(sandbox: &Sandbox, program: &str, args: &[&str]) -> Terminal {
    let mut command = sandbox.command(program, args);
    command.env("TERM", "xterm-256color");
    Terminal::start(command, 100, 24)
}

#[test]
fn waiting_for_a_submission_and_what_was_done() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    wait_for(&sandbox, &balancer, "waiting for a submission: `client 'TEXT;COUNT'`");
    let client = sandbox.ok("client", &["Halo A;10"]);
    assert_eq!((&client.stdout[..], &client.stderr[..]), ("accepted Halo A;10\n", ""));
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ended:#?}");
    assert!(lines[1].starts_with("loadbalancer: 10 messages by 3 workers in 0."), "{ended:#?}");
    assert_eq!(ended.stdout, "");
    sandbox.assert_clean();
}

#[test]
fn dead_messages_are_counted_at_the_end_also_when_quiet() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;2"]);
    let mut balancer = sandbox.start_work(&["--quiet", "1"], &["false"]);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 1);
    let told = "2 messages by 1 worker in ";
    assert!(ended.stderr.contains(told), "{ended:#?}");
    assert!(ended.stderr.contains("2 dead: see `lbctl dead list`"), "{ended:#?}");
    assert_eq!(sandbox.take_letters().len(), 2);
}

#[test]
fn quiet_is_silent() {
    let sandbox = Sandbox::default();
    let accepted = sandbox.ok("client", &["--quiet", "Halo A;10"]);
    assert_eq!((&accepted.stdout[..], &accepted.stderr[..]), ("", ""));
    assert_eq!(sandbox.ok("loadbalancer", &["--quiet", "3"]).stderr, "");
    assert_eq!(sandbox.ok("loadbalancer", &["--quiet", "--no-wait", "3"]).stderr, "");
    let mut worker = sandbox.start("worker", &["--quiet", "1"]);
    let mut balancer = sandbox.start("loadbalancer", &["--quiet", "--no-spawn", "1"]);
    sandbox.ok("client", &["--quiet", "a;1"]);
    for process in [&mut balancer, &mut worker] {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
        assert_eq!(ended.stderr, "");
    }
    let ended = sandbox.run("client", &["--quiet", "a;0"]);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains("argument 1"), "{ended:#?}");
    sandbox.assert_clean();
}

#[test]
fn no_wait_ends_where_nothing_is_unfinished_and_finishes_what_is() {
    let sandbox = Sandbox::default();
    let ended = sandbox.ok("loadbalancer", &["--no-wait", "3"]);
    assert_eq!(ended.stderr, "loadbalancer: nothing is unfinished in sistem.log\n");
    sandbox.ok("client", &["a;3"]);
    let ended = sandbox.ok("loadbalancer", &["--no-wait", "3"]);
    assert!(ended.stderr.contains("3 messages by 3 workers"), "{ended:#?}");
    assert_eq!(sandbox.sessions()[0].messages, 3);
    sandbox.assert_clean();
}

/// Killed in the middle; with its ledger, and without it.
#[rstest]
#[case::the_ledger_is_there(
    false,
    "taking over the session in sistem.log from a load balancer that ended: 0 of 2 "
)]
#[case::the_ledger_is_lost(true, "resuming the session in sistem.log: 0 of 2 messages are logged")]
fn the_next_load_balancer_says_what_it_takes_up(#[case] lost: bool, #[case] told: &str) {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;2"]);
    let mut balancer = sandbox.start_work(&["1"], &["sleep", "1000"]);
    sandbox.wait_until("a message is in hand", || sandbox.in_hand(1).is_some());
    balancer.kill();
    sandbox.wait_until("its worker ends with it", || sandbox.spawned_worker(1).is_none());
    if lost {
        for object in sandbox.ipc_objects() {
            object.remove();
        }
    }
    let mut balancer = sandbox.start_work(&["1"], &["true"]);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert!(ended.stderr.contains(told), "{ended:#?}");
    assert_each_line_once(&ended.stderr);
    sandbox.assert_clean();
}

#[test]
fn workers_by_hand_are_missed_by_number() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    wait_for(
        &sandbox,
        &balancer,
        "0 of 3 workers are here; missing: 1-3: start `worker 1`, `worker 2`",
    );
    let mut first = sandbox.start("worker", &["1"]);
    wait_for(&sandbox, &balancer, "1 of 3 workers are here; missing: 2-3: start `worker 2`");
    let mut second = sandbox.start("worker", &["2"]);
    wait_for(&sandbox, &balancer, "2 of 3 workers are here; missing: 3: start `worker 3`");
    let mut third = sandbox.start("worker", &["3"]);
    wait_for(&sandbox, &balancer, "all 3 workers are here");
    sandbox.ok("client", &["a;3"]);
    for process in [&mut balancer, &mut first, &mut second, &mut third] {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
        assert_each_line_once(&ended.stderr);
    }
    sandbox.assert_clean();
}

#[test]
fn a_worker_by_hand_says_what_it_waits_for() {
    let sandbox = Sandbox::default();
    let mut early = sandbox.start("worker", &["1"]);
    wait_for(
        &sandbox,
        &early,
        "worker 1: waiting for a load balancer: `loadbalancer --no-spawn N`",
    );
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "2"]);
    wait_for(&sandbox, &balancer, "missing: 2");
    let mut late = sandbox.start("worker", &["2"]);
    wait_for(&sandbox, &late, "worker 2: waiting for a submission: `client 'TEXT;COUNT'`");
    sandbox.ok("client", &["a;3"]);
    for process in [&mut balancer, &mut early, &mut late] {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    sandbox.assert_clean();
}

/// It is accepted, but nobody may ever execute it.
#[test]
fn a_client_says_that_no_load_balancer_is_there() {
    let sandbox = Sandbox::default();
    let ended = sandbox.ok("client", &["a;1"]);
    assert_eq!(
        ended.stderr,
        "client: accepted; no load balancer is running in this directory: start one there: `loadbalancer 3`\n"
    );
    assert_eq!(sandbox.ok("client", &["--quiet", "a;1"]).stderr, "");
    let ended = sandbox.ok("client", &["--dir", sandbox.dir().to_str().unwrap(), "a;1"]);
    let dir = sandbox.dir();
    let told = format!("in {0}: start one there: `loadbalancer --dir {0} 3`", dir.display());
    assert!(ended.stderr.contains(&told), "{ended:#?}");
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_clean();
}

/// What people type, and what they are asked to type.
#[rstest]
#[case::no_quotes("client", &["Halo", "A"], "a shell ends a command at `;`, so it needs quotes: `client 'Halo A;1'`")]
#[case::no_quotes_with_blanks("client", &["Halo", "A;10"], "in quotes it is one: `client 'Halo A;10'`")]
#[case::no_semicolon("client", &["Halo", "A", "10"], "`client 'Halo A;10'`")]
#[case::a_file("client", &["jobs.csv"], "it is a file; to submit its lines: `client < jobs.csv`")]
#[case::a_dash("client", &["-"], "without arguments it reads standard input: `client < FILE`")]
#[case::swapped("client", &["10;Halo A"], "the text comes first: `client 'Halo A;10'`")]
#[case::an_option("loadbalancer", &["--workers", "3"], "the number of workers stands alone: `loadbalancer 3`")]
#[case::an_option_with_equals("loadbalancer", &["--workers=3"], "`loadbalancer 3`")]
fn mistakes(#[case] program: &str, #[case] args: &[&str], #[case] told: &str) {
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.dir().join("jobs.csv"), "a;1\n").unwrap();
    let ended = sandbox.run(program, args);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains(told), "{ended:#?}");
    assert!(ended.stderr.contains(args[0].split('=').next().unwrap()), "{ended:#?}");
    assert_eq!(sandbox.log_len(), 0);
    std::fs::remove_file(sandbox.dir().join("jobs.csv")).unwrap();
    sandbox.assert_clean();
}

#[test]
fn two_load_balancers() {
    let sandbox = Sandbox::default();
    let mut first = sandbox.start("loadbalancer", &["--serve", "1"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(1));
    let ended = sandbox.run("loadbalancer", &["1"]);
    sandbox.assert_code(&ended, 3);
    assert!(
        ended.stderr.contains("a load balancer is already running in this directory"),
        "{ended:#?}"
    );
    let ended = sandbox.end_by(&mut first, Signal::SIGTERM);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_clean();
}

/// `client | head -1`: what nobody reads any more is accepted all the same.
#[test]
fn acceptances_that_nobody_reads_are_counted() {
    let sandbox = Sandbox::default();
    // The reader has gone before the client begins.
    let (reader, output) = std::io::pipe().unwrap();
    drop(reader);
    let (input, mut submissions) = std::io::pipe().unwrap();
    submissions.write_all(b"a;1\nb;1\nc;1\n").unwrap();
    drop(submissions);
    let ended = sandbox.command("client", &[]).stdin(input).stdout(output).output().unwrap();
    let told = "client: 3 more were accepted after standard output was closed";
    assert!(String::from_utf8_lossy(&ended.stderr).contains(told), "{ended:#?}");
    sandbox.ok("loadbalancer", &["1"]);
    assert_eq!(sandbox.sessions()[0].messages, 3);
    sandbox.assert_clean();
}

#[test]
fn a_client_on_a_terminal_says_that_it_reads() {
    let sandbox = Sandbox::default();
    let mut client = on_terminal(&sandbox, "client", &[]);
    client
        .wait_for("reading submissions from the terminal, one a line, as `Halo A;10`; Ctrl-D ends");
    client.keys("a;2\n");
    client.wait_for("accepted a;2");
    client.keys("\u{4}");
    assert_eq!(client.end().code(), Some(0), "{}", client.report());
    sandbox.ok("loadbalancer", &["1"]);
    sandbox.assert_clean();
}

/// With count and time left, and gone at the end; off a terminal there is none.
#[test]
fn a_bar_on_a_terminal() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["a;40"]);
    let wait = r#"[ "$LB_INDEX" -lt 5 ] || while [ ! -e "$OUT/go" ]; do sleep 0.01; done"#;
    let mut command = sandbox.command("loadbalancer", &["1", "--", "sh", "-c", wait]);
    command.env("TERM", "xterm-256color").env("OUT", sandbox.out());
    let mut balancer = Terminal::start(command, 100, 24);
    balancer.wait_for("4/40 messages");
    let row = balancer.rows().into_iter().find(|row| row.contains("4/40 messages")).unwrap();
    assert!(row.contains("/s, ") && row.contains(" left"), "{row}");
    sandbox.note("go");
    assert_eq!(balancer.end().code(), Some(0), "{}", balancer.report());
    balancer.wait_for("40 messages by 1 worker in ");
    assert!(!balancer.shows("/40 messages"), "the bar stays:\n{}", balancer.report());
    // Off a terminal.
    sandbox.ok("client", &["a;1"]);
    let mut balancer = sandbox.start_work(&["1"], &["sleep", "0.8"]);
    let ended = sandbox.end(&mut balancer);
    assert!(!ended.stderr.contains("left") && !ended.stderr.contains('\r'), "{ended:#?}");
    sandbox.assert_clean();
}
