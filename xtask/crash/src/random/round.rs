//! One round: the decisions, then healing, then the checks.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::{Binaries, Sandbox};

use super::check::check;
use super::plan::{Part, RoundPlan};
use super::stage::{Stage, Terminal};
use super::tally::{Count, Tally};
use crate::violation::Violation;
use crate::witness;

/// From the last fault on, everything must end within this time.
const HEALING: Duration = Duration::from_secs(5);
/// The same with work to do.
const HEALING_WITH_WORK: Duration = Duration::from_secs(30);
/// What was started has surely come so far by then that it handles being asked to end.
const READY: Duration = Duration::from_millis(100);

/// Runs a round.
pub(super) fn run(binaries: &Binaries, plan: &RoundPlan) -> Result<Tally, Violation> {
    let sandbox = Sandbox::new(binaries);
    let mut stage = Stage::new(&sandbox, plan);
    match perform(&mut stage) {
        Ok(()) => Ok(stage.tally),
        Err(what) => {
            Err(Violation::seen(&sandbox, format!("{what}\n{plan}"), stage.ends.join("\n")))
        }
    }
}

fn perform(stage: &mut Stage<'_>) -> Result<(), String> {
    stage.tally.counts.add(Count::Rounds, true);
    for step in &stage.plan.steps {
        thread::sleep(step.pause);
        stage.act(step.deed, step.part)?;
    }
    stage.continue_all();
    let limit = if stage.plan.work.is_some() { HEALING_WITH_WORK } else { HEALING };
    let healed = Instant::now();
    while !is_over(stage)? {
        if healed.elapsed() > limit {
            let terminals = stage.balancer.iter().chain(stage.workers.iter().flatten());
            let terminals: Vec<String> = terminals.map(Terminal::to_string).collect();
            return Err(format!(
                "not at the end {limit:?} after the last fault; running: {:?} ({}), owed: {:?}",
                stage.running(),
                terminals.join("; "),
                stage.owed
            ));
        }
        thread::sleep(Duration::from_millis(2));
    }
    stage.tally.healing_max = healed.elapsed();
    check(stage)
}

/// Does what a person does who wants the work finished: starts again what died, ends what waits for
/// nothing. Returns whether nothing is left to do.
pub(crate) fn is_over(stage: &mut Stage<'_>) -> Result<bool, String> {
    stage.reap()?;
    for part in stage.owed.clone() {
        stage.start(part)?;
    }
    let mut clients_done = true;
    for index in 0..stage.clients.len() {
        stage.start(Part::Client(index))?;
        clients_done &= !stage.clients[index].is_running;
    }
    if clients_done && stage.is_log_complete() {
        return wind_up(stage);
    }
    stage.start(Part::Balancer)?;
    for number in 1..=stage.plan.workers {
        stage.start(Part::Worker(number))?;
    }
    if clients_done {
        stop_serving(stage);
    }
    Ok(false)
}

/// The work is done: the balancer ends by itself, unless it serves or came too late for any work; then
/// workers by hand that came too late are asked to go.
fn wind_up(stage: &mut Stage<'_>) -> Result<bool, String> {
    stage.reap()?;
    if stage.owed.iter().any(|part| !matches!(part, Part::Client(_))) {
        return Ok(false);
    }
    let Some(balancer) = &mut stage.balancer else {
        stage.workers.iter_mut().flatten().for_each(tell_to_end);
        return Ok(stage.running().is_empty());
    };
    // What was left of the work may have been finished before the balancer got that far.
    let waits_in_vain = witness::ledger(&stage.sandbox.dir()).is_none();
    if !balancer.had_work || waits_in_vain {
        tell_to_end(balancer);
    }
    stop_serving(stage);
    Ok(false)
}

pub(crate) fn stop_serving(stage: &mut Stage<'_>) {
    if stage.plan.serve {
        stage.balancer.iter_mut().for_each(tell_to_end);
    }
}

/// Once: a second signal would abort.
fn tell_to_end(terminal: &mut Terminal) {
    if terminal.started.elapsed() > READY && !terminal.told_to_end {
        terminal.process.signal(Signal::SIGTERM);
        terminal.told_to_end = true;
    }
}
