//! One point to play, and many of them several at once.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use tests::Binaries;

use super::oracle::Oracle;
use super::play::{self, Played, Trace};
use super::point::{At, Point};
use super::scenario::Scenario;
use crate::findings::Findings;
use crate::lanes;
use crate::violation::Violation;

/// A point may be missed, since who writes next is a matter of microseconds: it is tried so often.
const TRIES: u32 = 4;

/// Every core is busy although runs mostly wait: 52 points a second with 4 at once on 2 cores, 80 with 10.
pub(crate) fn default_jobs() -> usize {
    4 * thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One point to play.
pub(crate) struct Task<'a> {
    pub(crate) oracle: &'a Oracle,
    pub(crate) point: Point,
}

impl Task<'_> {
    /// Plays it until all its strikes were reached. Those at a numbered call are tried once: the calls
    /// beside them are tried too.
    pub(crate) fn play(&self, programs: &Binaries, tries: u32) -> Result<Played, Violation> {
        let Point { scenario, strikes } = &self.point;
        let traces: Vec<Trace> = strikes.iter().map(|&strike| strike.into()).collect();
        let is_numbered = strikes.iter().all(|strike| matches!(strike.at, At::Call(_)));
        let mut left = if is_numbered { 1 } else { tries };
        loop {
            let played = play::play(scenario, programs, &traces, Some(self.oracle))?;
            left -= 1;
            if left == 0 || self.is_reached(&played) {
                return Ok(played);
            }
        }
    }

    pub(crate) fn is_reached(&self, played: &Played) -> bool {
        let reached = played.steps.iter().filter(|steps| steps.is_reached());
        reached.count() == self.point.strikes.len()
    }
}

/// Plays all tasks, so many at once. `done` hears of each, and says whether to go on.
pub(crate) fn play_all<'a>(
    jobs: usize,
    tasks: &[Task<'a>],
    programs: &Binaries,
    mut done: impl FnMut(&Task<'a>, Result<Played, Violation>) -> ControlFlow<()>,
) {
    let style = "{bar:30} {pos}/{len} {elapsed} (left {eta}) {msg}";
    let style = ProgressStyle::with_template(style).expect("a template");
    let bar = ProgressBar::new(tasks.len() as u64).with_style(style);
    let play = |task: &&Task<'a>| {
        bar.set_message(task.point.to_string());
        task.play(programs, TRIES)
    };
    lanes::play_all(jobs, tasks, play, |task, played| {
        bar.inc(1);
        bar.suspend(|| done(task, played))
    });
    bar.finish_and_clear();
}

/// What an undisturbed run of each scenario leaves, but for those that are not right.
pub(crate) fn oracles(
    scenarios: &[&'static Scenario],
    programs: &Binaries,
    findings: &mut Findings,
) -> Vec<Oracle> {
    let oracle = |&scenario: &&'static Scenario| {
        let failed = |violation| findings.failed(scenario.name, violation);
        undisturbed(scenario, programs).map_err(failed).ok()
    };
    scenarios.iter().filter_map(oracle).collect()
}

/// What an undisturbed run leaves: the same with a COMMAND and without.
pub(crate) fn undisturbed(
    scenario: &'static Scenario,
    programs: &Binaries,
) -> Result<Oracle, Violation> {
    let played = play::play(&scenario.without_work(), programs, &[], None)?;
    let wrong = |what| format!("an undisturbed run: {what}");
    let oracle = Oracle::new(scenario, played.log).map_err(wrong)?;
    if scenario.work.is_some() {
        let with_work = |Violation { what, kept }| Violation {
            what: format!("undisturbed, with work: {what}"),
            kept,
        };
        play::play(scenario, programs, &[], Some(&oracle)).map_err(with_work)?;
    }
    Ok(oracle)
}
