//! `cargo xtask e2e`: every way to run it, and that it fails when anything is wrong.
#![forbid(unsafe_code)]

mod xtask;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::fence::message_queue::MessageQueue;
use common::fence::shared_memory;
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::Value;
use tests::{Binaries, IpcObject, Profile, Sandbox};
use xtask::{both, json, run};

const SAMPLE: &str = include_str!("sample.log");
const CHECKS: [&str; 10] = [
    "programs",
    "accepted",
    "grammar",
    "order",
    "submissions",
    "exactly once",
    "distribution",
    "totals",
    "bytes",
    "nothing left",
];

/// The directory with the programs, built.
fn programs() -> String {
    Binaries::build(Profile::Dev).directory().to_str().unwrap().to_owned()
}

/// Runs it with the programs of a directory.
fn report(programs: &str, args: &str, code: i32) -> Value {
    let args = ["e2e", "--json", "--programs", programs].into_iter().chain(args.split(' '));
    json(&run(&args.collect::<Vec<_>>(), code))
}

fn names(report: &Value, passed: bool) -> Vec<&str> {
    let checks = report["runs"][0]["checks"].as_array().unwrap().iter();
    checks.filter(|c| c["passed"] == passed).map(|c| c["name"].as_str().unwrap()).collect()
}

/// As it is in the README: builds the programs, and prints for people.
#[test]
fn the_main_job() {
    let output = run(&["e2e", "--workers", "3", "--input", "Halo A;10"], 0);
    let text = both(&output);
    for name in CHECKS {
        assert!(text.contains(&format!("✓ {name}")), "{name}: {text}");
    }
    let bars: Vec<usize> = text
        .lines()
        .filter(|line| line.contains("worker "))
        .map(|line| line.matches('█').count())
        .filter(|&len| len > 0)
        .collect();
    assert_eq!(bars, [30, 23, 23], "{text}");
    assert!(!text.contains(['✗', '\x1b']), "{text}");
    // What cargo says while it builds.
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Finished `"), "{text}");
}

/// Every flag, alone and together; where the log is the same every time, its bytes are compared.
#[rstest]
#[case::client_first("--workers 3 --input a;10 --order client-first", 10, true)]
#[case::lb_first("--workers 3 --input a;10 --order lb-first", 10, true)]
#[case::hand_started("--workers 3 --input a;10 --hand-started", 10, true)]
#[case::hand_started_lb_first("--workers 3 --input a;10 --hand-started --order lb-first", 10, true)]
#[case::fewer_messages_than_workers("--workers 16 --input a;2", 2, true)]
#[case::one_worker("--workers 1 --input a;100", 100, true)]
#[case::a_dash_and_semicolons("--workers 2 --input --;x;3", 3, true)]
#[case::several_inputs("--workers 3 --input a;10 --input b;1 --input a;5", 16, true)]
#[case::several_inputs_lb_first(
    "--workers 3 --input a;10 --input b;1 --input a;5 --order lb-first",
    16,
    false
)]
#[case::clients("--workers 3 --input a;10 --input b;2 --clients 4", 48, false)]
#[case::clients_lb_first(
    "--workers 3 --input a;10 --input b;2 --clients 4 --order lb-first",
    48,
    false
)]
#[case::all(
    "--workers 2 --input a;9 --clients 3 --hand-started --order lb-first --limit 50",
    27,
    false
)]
fn flags(#[case] args: &str, #[case] messages: u64, #[case] bytes_compared: bool) {
    let report = report(&programs(), args, 0);
    assert_eq!(report["version"], 1);
    assert_eq!(report["passed"], true);
    let run = &report["runs"][0];
    assert_eq!(run["messages"], messages);
    let shares = run["shares"].as_array().unwrap();
    assert_eq!(shares.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), messages);
    let expected: Vec<_> = CHECKS.into_iter().filter(|&c| c != "bytes" || bytes_compared).collect();
    assert_eq!(names(&report, true), expected);
    assert_eq!(run["directory"], Value::Null);
}

/// The same checks with work, one more, and no other log.
#[rstest]
#[case::nothing(&["--", "true"])]
#[case::hand_started(&["--hand-started", "--", "true"])]
#[case::several_clients(&["--clients", "2", "--order", "lb-first", "--", "true"])]
#[case::tried_again(&["--retries=1", "--backoff=0", "--", "sh", "-c", "test $LB_ATTEMPT = 2"])]
#[case::lines(&["--lines", "--", "sh", "-c", r#"while read -r id rest; do printf '%s\tok\n' "$id"; done"#])]
fn with_work(#[case] args: &[&str]) {
    let programs = programs();
    let usual = ["e2e", "--json", "--programs", &programs, "--workers", "3", "--input", "a;10"];
    let report = json(&run(&[&usual, args].concat(), 0));
    let mut expected = CHECKS.to_vec();
    expected.insert(CHECKS.len() - 1, "dead letters");
    expected.retain(|&check| check != "bytes" || !args.contains(&"--clients"));
    assert_eq!(names(&report, true), expected);
    assert_eq!(report["dead"], 0);
    let command = args.iter().skip_while(|arg| **arg != "--").skip(1).collect::<Vec<_>>();
    assert_eq!(report["command"].as_array().unwrap().iter().collect::<Vec<_>>(), command);
}

/// That is no fault of the product's, and is not passed over.
#[test]
fn dead_messages_are_reported() {
    let args =
        ["e2e", "--workers", "3", "--input", "a;10", "--programs", &programs(), "--runs", "2"];
    let command = ["--", "sh", "-c", "case $LB_INDEX in 4|7) exit 65; esac"];
    let text = both(&run(&[&args[..], &command].concat(), 1));
    for part in [
        "to 3 workers with `sh -c case",
        "run 1 of 2: 11 checks passed: 10 messages (2 dead)",
        "2 programs ended with exit code 0, the load balancer with 1",
        "2 letters, the first by exit code 65",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[rstest]
#[case::no_such_program(&["--", "./nowhere"], "cannot run")]
#[case::no_command(&["--lines"], "COMMAND")]
fn work_that_cannot_be_done(#[case] args: &[&str], #[case] why: &str) {
    let output = run(&[&["e2e", "--workers", "3", "--input", "a;1"], args].concat(), 2);
    assert!(output.stdout.is_empty() && both(&output).contains(why), "{}", both(&output));
}

/// As one types it, though it runs elsewhere.
#[test]
fn paths_are_those_of_where_one_stands() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\nexec cat >> \"$1\"\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let out = dir.path().join("out");
    let programs = programs();
    let mut args = vec!["e2e", "--workers", "3", "--input", "a;10", "--programs", &programs];
    args.extend(["--joblog", "jobs", "--", "./script", out.to_str().unwrap()]);
    let output = xtask::xtask(&args).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(fs::read_to_string(out).unwrap(), "a\n".repeat(10));
    assert_eq!(fs::read_to_string(dir.path().join("jobs")).unwrap().lines().count(), 11);
}

/// All ten are dead, and somebody says something else.
#[rstest]
#[case::exit_code("$REAL $@; exit 0", &["programs"])]
#[case::letters_lost("$REAL $@; code=$?; rm sistem.dead; exit $code", &["programs"])]
#[case::one_doubled("$REAL $@; code=$?; sed -i 2p sistem.dead; exit $code", &["dead letters"])]
#[case::half_of_one("$REAL $@; code=$?; truncate -s -1 sistem.dead; exit $code", &["dead letters"])]
#[case::wrong_worker(
    "$REAL $@; code=$?; sed -i 's/\"worker\":3/\"worker\":2/' sistem.dead; exit $code",
    &["dead letters"]
)]
#[case::wrong_text(
    "$REAL $@; code=$?; sed -i 's/\"text\":\"a/&b/' sistem.dead; exit $code",
    &["dead letters"]
)]
#[case::wrong_session(
    "$REAL $@; code=$?; sed -i '2s/\"id\":\"................/\"id\":\"0123456789abcdef/' sistem.dead; exit $code",
    &["dead letters"]
)]
fn a_wrong_account_of_the_dead(#[case] script: &str, #[case] failed: &[&str]) {
    let dir = with_stand_in("loadbalancer", script);
    let args = "--workers 3 --input a;10 -- false";
    let report = report(dir.path().to_str().unwrap(), args, 4);
    assert_eq!(names(&report, false), failed, "{:#}", report["runs"][0]["checks"]);
}

#[test]
fn runs_are_many_and_may_be_kept() {
    let report = report(&programs(), "--workers 2 --input a;3 --runs 3 --keep", 0);
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    for (i, run) in runs.iter().enumerate() {
        assert_eq!(run["run"], i + 1);
        let dir = Path::new(run["directory"].as_str().unwrap());
        assert_eq!(fs::read(dir.join("sistem.log")).unwrap().len(), run["bytes"]);
        fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_kept_directory_holds_the_sample() {
    let report = report_of_sample("--keep");
    let dir = Path::new(report["runs"][0]["directory"].as_str().unwrap()).to_owned();
    assert_eq!(fs::read_to_string(dir.join("sistem.log")).unwrap(), SAMPLE);
    fs::remove_dir_all(dir.parent().unwrap()).unwrap();
}

fn report_of_sample(flag: &str) -> Value {
    let programs = programs();
    let args = ["e2e", "--json", "--workers", "3", "--input", "Halo A;10", "--programs", &programs];
    json(&run(&[&args[..], &[flag]].concat(), 0))
}

#[test]
fn summaries_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("summary.md");
    fs::write(&file, "# Before\n").unwrap();
    let args = format!("--workers 2 --input a|b;3 --summary {}", file.display());
    for times in 1..=2 {
        report(&programs(), &args, 0);
        let summary = fs::read_to_string(&file).unwrap();
        assert!(summary.starts_with("# Before\n"), "{summary}");
        assert_eq!(summary.matches("### ✅ e2e: <code>a&#124;b;3 to").count(), times, "{summary}");
        assert_eq!(summary.matches("| 1 | grammar | ✓ |").count(), times, "{summary}");
    }
}

/// The reason is the client's own.
#[rstest]
#[case::count_zero(&["--input", "a;0"], "the count at byte 2 is out of range")]
#[case::no_separator(&["--input", "Halo A"], "no `;` in it")]
#[case::one_of_two(&["--input", "a;1", "--input", "b;x"], "the count must be digits only, but byte 2")]
#[case::an_escape(&["--input", "\x1b;1"], "byte 0 begins a control character (U+001B)")]
#[case::no_input(&[], "--input")]
#[case::n_out_of_range(&["--input", "a;1", "--workers", "0"], "from 1 to 256")]
#[case::no_runs(&["--input", "a;1", "--runs", "0"], "--runs")]
fn usage(#[case] args: &[&str], #[case] why: &str) {
    let workers: &[&str] = if args.contains(&"--workers") { &[] } else { &["--workers", "3"] };
    let output = run(&[&["e2e"], workers, args].concat(), 2);
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{}", both(&output));
}

#[test]
fn programs_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let output = run(&["e2e", "--workers", "3", "--input", "a;1", "--programs", dir], 2);
    assert!(both(&output).contains("client: No such file"), "{}", both(&output));
}

/// Ctrl-C ended it alone: the processes went on, and filled the temp directory.
#[rstest]
#[case::ctrl_c(Signal::SIGINT, 130)]
#[case::term(Signal::SIGTERM, 143)]
#[case::hangup(Signal::SIGHUP, 129)]
fn a_signal_left_everything_behind(
    #[case] signal: Signal,
    #[case] code: i32,
    #[values(false, true)] kept: bool,
) {
    let sandbox = Sandbox::default();
    let programs = with_stand_in("worker", "sleep 1000; exit");
    let programs = programs.path().to_str().unwrap();
    let mut args = vec!["e2e", "--programs", programs, "--workers", "3", "--hand-started"];
    args.extend(["--input", "Halo A;10"]);
    args.extend(kept.then_some("--keep"));
    let mut command = xtask::xtask(&args);
    command.env("TMPDIR", sandbox.dir()).current_dir(sandbox.dir());
    let mut run = sandbox.start_command(command, "xtask e2e");
    let inner = || fs::read_dir(sandbox.dir()).unwrap().next().map(|dir| dir.unwrap().path());
    sandbox.wait_until("it is at work", || {
        let log = inner().and_then(|dir| fs::metadata(dir.join("run/sistem.log")).ok());
        log.is_some_and(|log| log.len() == SAMPLE.find("Worker1:").unwrap() as u64)
    });
    let dir = inner().unwrap();
    // Their removal takes a while, in which nothing else may happen.
    for number in 0..2000 {
        fs::write(dir.join(format!("run/{number}")), "").unwrap();
    }
    let objects = tests::objects(&dir.join("run"));
    run.signal(signal);
    let ended = sandbox.end(&mut run);
    sandbox.assert_code(&ended, code);
    assert_eq!(dir.exists(), kept, "{}", sandbox.report());
    let running = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        fs::read_link(entry.unwrap().path().join("cwd")).ok().filter(|cwd| cwd.starts_with(&dir))
    });
    assert_eq!(running.count(), 0, "{}", sandbox.report());
    let there = |object: &IpcObject| match *object {
        IpcObject::Segment { id, .. } => shared_memory::stat(id).is_ok(),
        IpcObject::Queue { id, .. } => MessageQueue(id).stat().is_ok(),
    };
    assert!(!objects.is_empty() && !objects.iter().any(there), "{}", sandbox.report());
    // Nor is what happened to the processes reported as a finding.
    let told = if kept { format!("kept: {}\n", dir.display()) } else { String::new() };
    assert_eq!((ended.stderr, ended.stdout.lines().count()), (told, 1));
    if kept {
        fs::remove_dir_all(dir).unwrap();
    }
    sandbox.assert_clean();
}

/// The real programs, but one of them is a shell script that calls the real one (`$REAL`) and does
/// something else besides.
fn with_stand_in(program: &str, script: &str) -> tempfile::TempDir {
    let (dir, real) = (tempfile::tempdir().unwrap(), programs());
    for name in ["client", "loadbalancer", "worker"] {
        let (path, real) = (dir.path().join(name), Path::new(&real).join(name));
        if name == program {
            let script = format!("#!/bin/sh\nREAL='{}'\n{script}\n", real.display());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        } else {
            symlink(real, path).unwrap();
        }
    }
    dir
}

/// Each check fails for what it is about.
#[rstest]
#[case::foreign_line("loadbalancer", "$REAL $@; echo hello >> sistem.log", &["grammar", "bytes"])]
#[case::torn("loadbalancer", "$REAL $@; truncate -s -1 sistem.log", &["grammar", "bytes"])]
#[case::swapped_lines(
    "loadbalancer",
    "$REAL $@; sed -i '4{h;d};5{G}' sistem.log",
    &["order", "bytes"]
)]
#[case::line_lost("loadbalancer", "$REAL $@; sed -i 4d sistem.log", &["order", "exactly once", "bytes"])]
#[case::line_doubled("loadbalancer", "$REAL $@; sed -i 4p sistem.log", &["order", "exactly once", "bytes"])]
#[case::wrong_worker(
    "loadbalancer",
    "$REAL $@; sed -i 's/^Worker2:/Worker1:/' sistem.log",
    &["order", "distribution", "totals", "bytes"]
)]
#[case::wrong_total(
    "loadbalancer",
    "$REAL $@; sed -i 's/4 messages/5 messages/' sistem.log",
    &["order", "totals", "bytes"]
)]
#[case::second_session(
    "loadbalancer",
    "$REAL $@; cat sistem.log >> all; cat all >> sistem.log; rm all",
    &["order", "submissions", "exactly once", "distribution", "totals", "bytes"]
)]
#[case::fails("loadbalancer", "$REAL $@; echo because >&2; exit 7", &["programs"])]
#[case::leaves_a_file("loadbalancer", "$REAL $@; touch extra", &["nothing left"])]
#[case::leaves_a_process("loadbalancer", "$REAL $@; sleep 300 &", &["nothing left"])]
#[case::says_nothing("client", "$REAL --quiet $@", &["accepted"])]
#[case::submits_other_things(
    "client",
    "$REAL --quiet 'a;11'; echo 'accepted a;10'",
    &["submissions", "exactly once", "bytes"]
)]
#[case::never_ends("loadbalancer", "exec sleep 300", &[
    "programs", "order", "exactly once", "distribution", "totals", "bytes", "nothing left"
])]
#[case::no_log("loadbalancer", "$REAL $@; rm sistem.log", &["log"])]
fn a_check_fails(#[case] program: &str, #[case] script: &str, #[case] failed: &[&str]) {
    let dir = with_stand_in(program, script);
    // Only what never ends needs a short one.
    let limit = if script.starts_with("exec sleep") { 5 } else { 60 };
    let args = format!("--workers 3 --input a;10 --limit {limit}");
    let report = report(dir.path().to_str().unwrap(), &args, 4);
    assert_eq!(names(&report, false), failed, "{:#}", report["runs"][0]["checks"]);
    assert_eq!(report["passed"], false);
}

/// Among several clients' submissions, too.
#[test]
fn a_client_whose_submissions_are_out_of_order_is_found() {
    let script = "$REAL --quiet 'b;2' 'a;1'; echo 'accepted a;1'; echo 'accepted b;2'";
    let dir = with_stand_in("client", script);
    let args = "--workers 3 --input a;1 --input b;2 --clients 2";
    let report = report(dir.path().to_str().unwrap(), args, 4);
    assert_eq!(names(&report, false), ["submissions"]);
}

/// For people: the first wrong line, and what was expected; on stderr everything that is known.
#[test]
fn a_failure_is_explained() {
    let dir = with_stand_in("loadbalancer", "$REAL $@; sed -i 9d sistem.log; echo hint >&2");
    let dir = dir.path().to_str().unwrap();
    let output = run(&["e2e", "--workers", "3", "--input", "a;10", "--programs", dir], 4);
    let (text, known) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("✗ order"), "{text}");
    assert!(text.contains("line 9: expected `Received at lb: a (#message 7)`"), "{text}");
    assert!(text.contains("received, `a` #message 7: 1 line missing"), "{text}");
    assert!(text.contains("✗ 3 checks failed"), "{text}");
    for part in ["sistem.log", "hint", "accepted a;10", "IPC objects: []", "\"ledger\": null"] {
        assert!(known.contains(part), "{part}: {known}");
    }
}
