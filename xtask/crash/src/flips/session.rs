//! One round: the session, the flip, and what must come of it.

use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tests::{Binaries, Sandbox};

use super::place::Flipped;
use super::plan::FlipPlan;
use super::recovery;
use super::watch::watch;
use crate::counts::Outcome;
use crate::random::check;
use crate::random::plan::{Deed, Part};
use crate::random::round;
use crate::random::stage::Stage;
use crate::violation::Violation;
use crate::witness;

/// How long the load balancer may take until it handles signals.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// What came of a round.
pub(super) struct Played {
    /// Nothing: there was no ledger.
    pub(super) flipped: Option<Flipped>,
    /// Unless something was wrong: nobody was disturbed, or somebody ended with an error, and what it said led to the
    /// right end.
    pub(super) outcome: Result<Outcome, Violation>,
    /// From the flip, and the steps that follow it, to the right end or to an error.
    pub(super) took: Duration,
}

/// Plays a round.
pub(super) fn play(binaries: &Binaries, plan: &FlipPlan) -> Played {
    let sandbox = Sandbox::new(binaries);
    let mut stage = Stage::new(&sandbox, &plan.play);
    stage.may_fail = true;
    let mut disturbed = Disturbed::default();
    let outcome = disturb(&mut stage, plan, &mut disturbed);
    let begun = Instant::now();
    let mut took = Duration::ZERO;
    let outcome = outcome.and_then(|()| {
        let undisturbed = watch_on(&mut stage, &disturbed)?;
        took = begun.elapsed();
        end(&mut stage, undisturbed)
    });
    let flipped = disturbed.flipped;
    let outcome = outcome.map_err(|what| {
        let told = flipped.map_or_else(|| "nothing".to_owned(), |flipped| flipped.to_string());
        let what = format!("{}\n  {}, {told}", what.trim_end(), plan.scene);
        Violation::seen(&sandbox, what, format!("{}\n{plan}", stage.ends.join("\n")))
    });
    Played { flipped, outcome, took }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Disturbed {
    flipped: Option<Flipped>,
    /// When the service was asked to end, a client was still there: what it submits after that may be left
    /// for the next start.
    drained_early: bool,
}

/// Does what was decided, and the flip in between.
fn disturb(
    stage: &mut Stage<'_>,
    plan: &FlipPlan,
    disturbed: &mut Disturbed,
) -> Result<(), String> {
    let dir = stage.sandbox.dir();
    for number in 0..=plan.play.steps.len() {
        if number == plan.flip_before {
            thread::sleep(plan.pause);
            disturbed.flipped = plan.place.flip(&dir, plan.play.workers);
        }
        if let Some(step) = plan.play.steps.get(number) {
            thread::sleep(step.pause);
            if step.deed == Deed::Drain {
                wait_for_signals(stage);
                stage.reap()?;
                disturbed.drained_early = is_feeding(stage);
            }
            stage.act(step.deed, step.part)?;
        }
    }
    stage.continue_all();
    Ok(())
}

fn is_feeding(stage: &Stage<'_>) -> bool {
    stage.running().iter().any(|part| matches!(part, Part::Client(_)))
}

/// Before it handles SIGTERM, the load balancer would be killed by it.
fn wait_for_signals(stage: &Stage<'_>) {
    let start = Instant::now();
    let pid = stage.balancer.as_ref().map(|balancer| Pid::from_raw(balancer.process.pid()));
    while pid.is_some_and(|pid| !witness::handles_sigterm(pid)) && start.elapsed() < READY_WITHIN {
        thread::sleep(Duration::from_micros(200));
    }
}

/// Waits for the end, or for an error. Returns whether there was none.
fn watch_on(stage: &mut Stage<'_>, disturbed: &Disturbed) -> Result<bool, String> {
    let mut is_over = |stage: &mut Stage<'_>| {
        stage.reap()?;
        if !is_feeding(stage) {
            round::stop_serving(stage);
        }
        let over = stage.running().is_empty();
        if over && disturbed.drained_early { round::is_over(stage) } else { Ok(over) }
    };
    watch(stage, &mut is_over)
}

/// What must be so then.
fn end(stage: &mut Stage<'_>, undisturbed: bool) -> Result<Outcome, String> {
    let outcome = if undisturbed {
        Outcome::Unfelt
    } else {
        recovery::recover(stage)?;
        Outcome::CameAgain
    };
    let right = check::check(stage);
    right.map(|()| outcome).map_err(|what| format!("everyone has ended well, but {what}"))
}
