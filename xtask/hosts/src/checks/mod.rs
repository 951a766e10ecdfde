//! What must be true in the end, each from another source.

mod executed;
mod generations;
mod logs;
mod submissions;

pub(crate) use logs::is_finished;

use std::fs;
use std::path::Path;

use common::dead::Letter;
use common::grammar::DEAD_NAME;
use common::grammar::rotation::{WorkerNumberError, Workers};
use lbctl::terminal::counted;
use lbctl::verify;
use serde::Serialize;

use crate::failure::Failure;
use crate::site::{Site, WORKERS};
use crate::stream;

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) passed: bool,
    /// What was seen, or the first thing that is wrong.
    pub(crate) detail: String,
}

/// A check fails with the first of its problems.
fn check(name: &'static str, problems: Vec<String>, seen: impl FnOnce() -> String) -> Check {
    let number = problems.len();
    let Some(first) = problems.into_iter().next() else {
        return Check { name, passed: true, detail: seen() };
    };
    let more = if number > 1 { format!(" (and {} more)", number - 1) } else { String::new() };
    Check { name, passed: false, detail: format!("{first}{more}") }
}

/// Checks everything. `last` has the log of the balancer that ended the session.
pub(crate) fn all(site: &Site, last: &Path) -> Result<Vec<Check>, Failure> {
    let workers = Workers::new(WORKERS);
    let workers = workers.map_err(|error: WorkerNumberError| Failure::Broken(error.to_string()))?;
    let mut checks = Vec::new();

    let dirs: Vec<&Path> = site.hosts.iter().map(|host| host.dir.as_path()).chain([last]).collect();
    let mut problems = logs::differences(&dirs)?;
    for host in &site.hosts {
        problems.extend(logs::no_prefix(&site.helper_dir(host.number), last)?);
    }
    checks.push(check("equal", problems, || {
        let letters = "their dead letters, too";
        format!(
            "the logs of {} are the same bytes, {letters}",
            counted(dirs.len() as u64, "balancer")
        )
    }));

    let log = site.hosts[0].log();
    let system = || Failure::system(log.display().to_string());
    let verdict = verify::check(&log, Some(workers)).map_err(system())?;
    let messages = verdict.messages;
    checks.push(check("verified", logs::faults(&verdict), || {
        let what = [(verdict.lines, "line"), (messages, "message")];
        what.map(|(number, noun)| counted(number, noun)).join(", ")
    }));

    let found = submissions::of_log(&log).map_err(system())?;
    let texts = site.record.texts();
    checks.push(check("submissions", submissions::problems(&texts, &found), || {
        let unclear = found.len() as u64 - texts.accepted;
        let accepted = counted(texts.accepted, "accepted submission");
        format!("{accepted} once each, and {unclear} of which no client could say so any more")
    }));

    let mut history = generations::History::new(workers);
    stream::entries(&site.inspect()?, |entry| history.push(&entry))?;
    let session = history.session();
    let taken_over = history.taken_over();
    checks.push(check("generations", history.finish(messages), || {
        let times = counted(taken_over, "time");
        format!("never two holders of a worker's number counted; taken over {times}")
    }));

    let letters = letters(&site.hosts[0].dir.join(DEAD_NAME))?;
    let mut executed = executed::Executed::new(session, messages);
    for host in &site.hosts {
        executed.read(&host.record())?;
    }
    let again = executed.again();
    checks.push(check("executed", executed.problems(&letters), || {
        let dead = counted(letters.len() as u64, "dead letter");
        format!("each message at least once; {again} more than that; {dead}")
    }));
    Ok(checks)
}

fn letters(file: &Path) -> Result<Vec<Letter>, Failure> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(Failure::system(file.display().to_string()))?,
    };
    let wrong = |error| Failure::Broken(format!("{}: {error}", file.display()));
    text.lines().map(|line| serde_json::from_str(line).map_err(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_with_a_problem_fails() {
        assert!(check("x", Vec::new(), String::new).passed);
        let failed = check("x", vec!["a".to_owned(), "b".to_owned()], String::new);
        assert_eq!((failed.passed, failed.detail.as_str()), (false, "a (and 1 more)"));
    }
}
