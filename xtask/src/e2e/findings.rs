//! What is checked after a run, and what was found.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::Path;

use common::error::exit;
use common::grammar::rotation::Workers;
use common::grammar::submission::Submission;
use lbctl::terminal::{counted, shortened};
use lbctl::verify::verdict::{Fault, Tally, Verdict, WorkerTally};
use lbctl::verify::{self, Account, lines};
use serde::Serialize;
use tests::Ended;
use tests::oracle::Pairing;

use super::expected;
use super::interleaving::first_impossible;
use super::letters::Letters;
use super::scene::{BALANCER, RunPlan, Scene};

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) passed: bool,
    /// What was seen, or the first thing that is wrong.
    pub(super) detail: String,
}

/// Everything that was found about one run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    pub(super) passed: bool,
    pub(super) checks: Vec<Check>,
    pub(super) first_wrong: Option<Fault>,
    pub(super) messages: u64,
    /// How many of them ended in `sistem.dead`.
    pub(super) dead: u64,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// Messages executed by each worker, from worker 1 on.
    pub(super) shares: Vec<u64>,
}

/// Looks at a run from every side.
pub(super) fn examine(plan: &RunPlan<'_>, scene: &Scene) -> Findings {
    let letters = Letters::read(plan, &scene.sandbox.dir());
    let mut checks = vec![programs(plan, scene, letters.dead), accepted(plan, scene)];
    let found = examine_log(plan, scene, &mut checks).unwrap_or_else(|error| {
        let problem = format!("{}: {error}", scene.sandbox.log_path().display());
        checks.push(check("log", [problem], String::new));
        Findings::default()
    });
    if plan.work.is_any() {
        checks.push(check("dead letters", &letters.wrong, || letters.to_string()));
    }
    checks.push(check("nothing left", &scene.leftovers, || {
        "no IPC object, process or other file".to_owned()
    }));
    let passed = checks.iter().all(|check| check.passed);
    Findings { passed, checks, dead: letters.dead, ..found }
}

/// A check fails with the first of its problems.
fn check<P: Display>(
    name: &'static str,
    problems: impl IntoIterator<Item = P>,
    seen: impl FnOnce() -> String,
) -> Check {
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else {
        return Check { name, passed: true, detail: seen() };
    };
    let more = match problems.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Check { name, passed: false, detail: format!("{first}{more}") }
}

fn programs(plan: &RunPlan<'_>, scene: &Scene, dead: u64) -> Check {
    let limit = plan.limit().as_secs();
    let late = scene.late.iter().map(|name| format!("{name} has not ended within {limit} s"));
    let ended = scene.clients.iter().chain(&scene.others);
    // The load balancer tells of dead messages, and only then.
    let due = |name: &str| if name == BALANCER && dead > 0 { exit::PARTLY.into() } else { 0 };
    let is_wrong = |ended: &&Ended| ended.status.code() != Some(due(&ended.name));
    let failed = ended.clone().filter(is_wrong).map(|ended| {
        let why = ended.stderr.lines().last().unwrap_or("it printed nothing to stderr");
        let due = match due(&ended.name) {
            0 => String::new(),
            code => format!(", not {code}"),
        };
        format!("{}: {}{due}: {why}", ended.name, ended.status)
    });
    check("programs", late.chain(failed), || {
        let partly = if dead > 0 { ", the load balancer with 1" } else { "" };
        format!("{} ended with exit code 0{partly}", counted(ended.count() as u64, "program"))
    })
}

fn accepted(plan: &RunPlan<'_>, scene: &Scene) -> Check {
    let expected: String = plan.inputs.iter().map(|input| format!("accepted {input}\n")).collect();
    let wrong = scene.clients.iter().filter(|client| client.stdout != expected);
    let problems = wrong.map(|client| {
        let lines = client.stdout.lines().zip(expected.lines());
        let right = lines.take_while(|(found, expected)| found == expected).count();
        let found = client.stdout.lines().nth(right).unwrap_or("nothing more");
        let expected = expected.lines().nth(right).unwrap_or("nothing more");
        format!("{}: expected {}, found {}", client.name, shortened(expected), shortened(found))
    });
    check("accepted", problems, || {
        let submissions = plan.inputs.len() * plan.clients;
        format!("{} confirmed", counted(submissions as u64, "submission"))
    })
}

fn examine_log(plan: &RunPlan<'_>, scene: &Scene, checks: &mut Vec<Check>) -> io::Result<Findings> {
    let log = &scene.sandbox.log_path();
    let verdict = verify::check(log, Some(plan.workers))?;
    let (found, tally) = read_without_order(log, plan.workers)?;
    checks.push(grammar(&verdict));
    checks.push(order(&verdict));
    checks.push(submissions(plan, &found));
    checks.push(once(&tally, plan.messages()));
    let unfair = tally.workers.iter().filter(|worker| worker.executed != worker.expected);
    checks
        .push(check("distribution", unfair, || "one after the other, shares as below".to_owned()));
    checks.push(totals(&tally));
    // What is the same every time is compared byte for byte.
    if plan.clients == 1 && (plan.inputs.len() == 1 || scene.clients_first) {
        let difference = expected::compare(log, plan.inputs, plan.workers)?;
        let problem = difference.map(|byte| format!("the first different byte is byte {byte}"));
        checks
            .push(check("bytes", problem, || "the file the rules make, byte for byte".to_owned()));
    }
    Ok(Findings {
        first_wrong: verdict.first_wrong,
        messages: tally.messages,
        lines: verdict.lines,
        bytes: verdict.bytes,
        shares: tally.workers.iter().map(|worker| worker.executed).collect(),
        ..Findings::default()
    })
}

/// The submissions in the order of their lines, and what else is in the log in whatever order.
fn read_without_order(log: &Path, workers: Workers) -> io::Result<(Vec<Submission>, Tally)> {
    let mut account = Account::new(Some(workers));
    let (mut found, mut pairing) = (Vec::new(), Pairing::default());
    lines::for_each(File::open(log)?, |bytes, _| {
        let Some(line) = lines::parse(bytes) else { return };
        account.push(line);
        found.extend(pairing.push(line));
    })?;
    Ok((found, account.finish()))
}

fn grammar(verdict: &Verdict) -> Check {
    let wrong = verdict.foreign.first.iter().chain(&verdict.torn);
    check("grammar", wrong, || {
        format!("{}, each of one of the five kinds", counted(verdict.lines, "line"))
    })
}

fn order(verdict: &Verdict) -> Check {
    let faults = verdict.sessions.first.iter().filter_map(|session| session.fault.as_ref());
    let faults = faults.map(|fault| {
        let found = fault.found.as_deref().map(shortened);
        Fault { expected: shortened(&fault.expected), found, ..*fault }.to_string()
    });
    let sessions = (verdict.sessions.count != 1)
        .then(|| format!("{} instead of one", counted(verdict.sessions.count, "session")));
    let unfinished = verdict.unfinished.as_ref();
    let unfinished =
        unfinished.map(|next| format!("it ends inside a session; next should come {next}"));
    check("order", faults.chain(sessions).chain(unfinished), || {
        "canonical, from the first line to the last".to_owned()
    })
}

fn submissions(plan: &RunPlan<'_>, found: &[Submission]) -> Check {
    let given = plan.inputs.len() * plan.clients;
    let number = (found.len() != given).then(|| {
        format!("{} in the log, {given} given", counted(found.len() as u64, "submission"))
    });
    let strange = first_impossible(found, plan.inputs, plan.clients).map(|i| {
        let submission = shortened(&found[i].to_string());
        format!("submission {} of the log, `{submission}`, is not what was given there", i + 1)
    });
    check("submissions", number.into_iter().chain(strange), || {
        format!("{} as given, each client's in its order", counted(given as u64, "submission"))
    })
}

fn once(tally: &Tally, given: u64) -> Check {
    let executed: u64 = tally.workers.iter().map(|worker| worker.executed).sum();
    let unequal = (tally.messages != given || executed != given).then(|| {
        format!(
            "{given} given, {} submitted, {executed} executed",
            counted(tally.messages, "message")
        )
    });
    let halves = (tally.half_submissions > 0)
        .then(|| counted(tally.half_submissions, "submission") + " with only one line");
    let spans = tally.received.first.iter().map(ToString::to_string);
    check("exactly once", spans.chain(halves).chain(unequal), || {
        format!("{} received and executed", counted(given, "message"))
    })
}

fn totals(tally: &Tally) -> Check {
    let is_right = |w: &&WorkerTally| w.total == Some(w.executed) && w.totals == 1;
    check("totals", tally.workers.iter().filter(|worker| !is_right(worker)), || {
        format!("{}, each what its worker executed", counted(tally.workers.len() as u64, "total"))
    })
}
