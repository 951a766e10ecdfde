//! What must hold of work at the end of a round.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::dead::Letter;
use tests::Sandbox;
use tests::mood::Whim;

use super::letters::letters;
use super::log::Log;
use super::plan::Part;
use super::stage::Stage;
use super::tally::Count;
use super::work::{Work, evidence, handlers};

/// What a message is that killed its worker three times, as its letter says.
const POISON: &str = "its worker died in it for the third time";
/// How long what a done message has left may live on.
const LEFT_MAX: Duration = Duration::from_secs(2);

/// Each message is done, or has a letter that something explains; and none was in two attempts at once.
pub(super) fn check(work: &Work, stage: &mut Stage<'_>, log: &Log) -> Result<(), String> {
    let counts = &mut stage.tally.counts;
    counts.add(Count::WorkRounds, true);
    counts.add(Count::WorkMessages, log.messages);
    let overlaps = read(stage.sandbox, "overlaps");
    let is_overlap = |line: &&str| line.starts_with("overlap\t");
    let number = overlaps.lines().filter(is_overlap).count() as u64;
    counts.add(Count::Overlaps, number);
    counts.add(Count::Dying, overlaps.lines().count() as u64 - number);
    let attempts = read(stage.sandbox, "attempts");
    let mut done = HashSet::new();
    for line in attempts.lines() {
        let fields: Vec<&str> = line.splitn(6, '\t').collect();
        let [what, _, attempt, index, _, text] = fields[..] else {
            return Err(format!("not an attempt: {line}"));
        };
        match what {
            "try" => {
                counts.add(Count::Attempts, true);
                counts.add(Count::Retries, attempt != "1");
            }
            _ => drop(done.insert((text, index.parse::<u32>().unwrap_or_default()))),
        }
    }
    if let Some(overlap) = overlaps.lines().find(is_overlap) {
        return Err(format!("{number} attempts beside an earlier one; the first: {overlap}"));
    }
    let letters = letters(stage.sandbox)?;
    counts.add(Count::Letters, letters.len() as u64);
    let poison = letters.values().filter(|letter| letter.outcome == POISON).count();
    counts.add(Count::Poison, poison as u64);
    for letter in letters.values() {
        check_letter(work, stage, letter)?;
    }
    for submission in &log.submissions {
        let text = submission.text();
        for index in 1..=submission.count() {
            if !done.contains(&(text, index)) && !letters.contains_key(&(text.to_owned(), index)) {
                return Err(format!("neither done nor dead: {text} (#message {index})"));
            }
        }
    }
    let start = Instant::now();
    while !handlers(stage.sandbox).is_empty() && start.elapsed() < LEFT_MAX {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Whether anything explains a letter.
fn check_letter(work: &Work, stage: &Stage<'_>, letter: &Letter) -> Result<(), String> {
    let (attempts, outcome) = (letter.attempts, letter.outcome.as_str());
    let tally = &stage.tally;
    let whim = work.mood.whim(&letter.text, letter.index, attempts);
    let was_killed = outcome.ends_with("signal 9 (SIGKILL)")
        || matches!(whim, Whim::Delegate(to) if work.mood.explains(Whim::FailAndLeave(to), outcome));
    let is_explained = match outcome {
        POISON => {
            let mut whims = (1..=attempts).map(|n| work.mood.whim(&letter.text, letter.index, n));
            let kills = tally.kills(Part::Worker(0)) + tally.kills(Part::Balancer);
            attempts >= 3 && (kills >= 3 || whims.any(|whim| matches!(whim, Whim::KillWorker(_))))
        }
        _ if was_killed && tally.kills(Part::Handler(0)) > 0 => attempts > work.retries,
        _ if work.mood.explains(whim, outcome) => attempts > work.retries || whim == Whim::GiveUp,
        _ => false,
    };
    if is_explained {
        return Ok(());
    }
    Err(format!("nothing explains that a message is dead (it was to {whim:?}): {letter:?}"))
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(evidence(sandbox).join(name)).unwrap_or_default()
}
