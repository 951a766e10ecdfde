//! The table of ARCHITECTURE.md, "What each death leaves": a program is killed at each of its system calls. What it leaves is
//! a row of that table, and what comes after that is right.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt;

use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Process, Sandbox, killed_at};

const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
/// More system calls than any of the programs makes here, twice.
const STOPS_MAX: usize = 2000;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    who: &'static str,
    /// Ledger, magic word, c = f, bytes, queue: `+`, `-`, `?` or nothing.
    columns: [&'static str; 5],
}

fn rows() -> Vec<Row> {
    let (_, table) = ARCHITECTURE.split_once("| who died, and where |").expect("the table");
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Row> = lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            Row { who: cells[0], columns: [cells[1], cells[2], cells[3], cells[4], cells[5]] }
        })
        .collect();
    let is_known = |column: &&str| ["+", "-", "?", ""].contains(column);
    assert!(rows.len() > 15 && rows.iter().all(|row| row.columns.iter().all(is_known)), "{rows:?}");
    rows
}

/// What there is, in the same columns.
fn state(sandbox: &Sandbox) -> [&'static str; 5] {
    let sign = |is: bool| if is { "+" } else { "-" };
    let queue = sign(!sandbox.queues().is_empty());
    let Some(ledger) = sandbox.ledger() else {
        return ["-", "", "", "", queue];
    };
    if !ledger.is_published() {
        // Nothing else of it counts; and nothing is in the log before the magic word.
        return ["+", "-", "?", sign(sandbox.log_len() > 0), queue];
    }
    let finished = ledger.cursors().unwrap().log_len;
    let bytes = sign(sandbox.log_len() > finished);
    ["+", "+", sign(!ledger.is_pending()), bytes, queue]
}

/// The rows that this may be, of those about a role.
fn rows_of(state: [&str; 5], role: &str) -> BTreeSet<Row> {
    let fits = |row: &Row| {
        let mut columns = row.columns.iter().zip(state);
        columns.all(|(&row, is)| row == is || row == "?" || is == "?" || row.is_empty())
    };
    let is_about = |row: &Row| {
        let who = row.who.split([',', ' ']).next().unwrap_or_default();
        [role, "anyone", "nobody"].contains(&who)
    };
    rows().into_iter().filter(|row| fits(row) && is_about(row)).collect()
}

/// A sandbox with an empty log, to which a program can be seen to come.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::default();
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(sandbox.log_path())
        .unwrap();
    sandbox
}

/// Kills a program at each of its system calls in turn, or at some of them, in a sandbox of its own each time. Returns
/// the rows that were seen.
fn kill_everywhere(
    role: &str,
    step: usize,
    begin: impl Fn(&Sandbox) -> Vec<Process>,
    program: (&str, &[&str]),
    go_on: impl Fn(&Sandbox, Vec<Process>),
) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    for at in (0..STOPS_MAX).step_by(step) {
        let sandbox = sandbox();
        let others = begin(&sandbox);
        let command = sandbox.command(program.0, program.1);
        let ended = killed_at(&command, &sandbox.log_path(), at);
        if ended.is_none() {
            let state = state(&sandbox);
            let rows = rows_of(state, role);
            assert!(!rows.is_empty(), "stop {at}: {state:?} is in no row{}", sandbox.report());
            seen.extend(rows.iter().map(|row| row.who));
        }
        go_on(&sandbox, others);
        sandbox.assert_clean();
        if ended.is_some() {
            return seen;
        }
    }
    panic!("it makes no end");
}

fn assert_seen(seen: &BTreeSet<&str>, wanted: &[&str]) {
    for wanted in wanted {
        assert!(seen.iter().any(|row| row.starts_with(wanted)), "{wanted}: never seen in {seen:?}");
    }
}

#[rstest]
fn of_a_client(#[values(&[], &["before;1"])] before: &'static [&'static str]) {
    let begin = |sandbox: &Sandbox| {
        if !before.is_empty() {
            sandbox.ok("client", before);
        }
        Vec::new()
    };
    let go_on = |sandbox: &Sandbox, _: Vec<Process>| {
        sandbox.ok("loadbalancer", &["--no-wait", "2"]);
        let all = [("before", 1), ("a", 2)];
        let all = if before.is_empty() { &all[1..] } else { &all[..] };
        let log = sandbox.log();
        let without = &all[..all.len() - 1];
        let is_accepted = log == canonical_log(all, 2);
        let is_not =
            log == if without.is_empty() { String::new() } else { canonical_log(without, 2) };
        assert!(is_accepted || is_not, "{}", sandbox.report());
    };
    let seen = kill_everywhere("client", 1, begin, ("client", &["a;2"]), go_on);
    let wanted: &[&str] = if before.is_empty() {
        &[
            "nobody",
            "client, making the ledger",
            "client, after `committed`",
            "client, after `finished`",
        ]
    } else {
        &["client, in a session", "client, after `committed`", "client, after `finished`"]
    };
    assert_seen(&seen, wanted);
}

/// By hand, so that there is one worker. How often it waits differs from time to time, and with that which call is the nth:
/// so it is not certain to die in a transaction, as a client is.
#[test]
fn of_a_worker() {
    let begin = |sandbox: &Sandbox| {
        sandbox.ok("client", &["a;2"]);
        vec![sandbox.start("loadbalancer", &["--no-spawn", "1"])]
    };
    let go_on = |sandbox: &Sandbox, mut others: Vec<Process>| {
        let mut again = sandbox.start("worker", &["1"]);
        sandbox.assert_code(&sandbox.end(&mut others[0]), 0);
        end_if_late(sandbox, &mut again);
        sandbox.assert_log(&canonical_log(&[("a", 2)], 1));
    };
    let seen = kill_everywhere("worker", 2, begin, ("worker", &["1"]), go_on);
    assert_seen(&seen, &["worker without COMMAND"]);
}

#[test]
fn of_a_load_balancer() {
    let begin = |sandbox: &Sandbox| {
        sandbox.ok("client", &["a;2"]);
        vec![sandbox.start("worker", &["1"])]
    };
    let go_on = |sandbox: &Sandbox, mut others: Vec<Process>| {
        if !sandbox.ipc_objects().is_empty() {
            sandbox.ok("loadbalancer", &["--no-spawn", "--no-wait", "1"]);
        }
        end_if_late(sandbox, &mut others[0]);
        sandbox.assert_log(&canonical_log(&[("a", 2)], 1));
    };
    let program = ("loadbalancer", &["--no-spawn", "1"][..]);
    let seen = kill_everywhere("balancer", 2, begin, program, go_on);
    assert_seen(&seen, &["balancer, after `received`", "anyone, after the totals"]);
}

/// A worker by hand that comes when all is over waits for the next session.
fn end_if_late(sandbox: &Sandbox, worker: &mut Process) {
    sandbox.wait_until("it has ended, or waits", || {
        !worker.is_running() || worker.stderr().contains("waiting for")
    });
    worker.kill();
}
