//! One point to play, and many of them several at once.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use tests::Binaries;

use super::oracle::Oracle;
use super::play::{self, Played, Trace, Violation};
use super::point::{At, Point, Strike};
use super::scenario::Scenario;
use crate::lanes;

/// A point may be missed, since who writes next is a matter of microseconds: it is tried so often.
const TRIES: u32 = 4;

/// Every core is busy although runs mostly wait: 52 points a second with 4 at once on 2 cores, 80 with 10.
pub(crate) fn default_jobs() -> usize {
    4 * thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One point to play.
pub(crate) struct Task<'a> {
    pub(crate) scenario: &'static Scenario,
    pub(crate) oracle: &'a Oracle,
    pub(crate) strikes: Vec<Strike>,
}

impl Task<'_> {
    pub(crate) fn point(&self) -> Point {
        Point { scenario: self.scenario.name.to_owned(), strikes: self.strikes.clone() }
    }

    /// Plays it until all its strikes were reached. Those at a numbered call are tried once: the calls
    /// beside them are tried too.
    pub(crate) fn play(&self, programs: &Binaries, tries: u32) -> Result<Played, Violation> {
        let traces: Vec<Trace> = self.strikes.iter().map(|&strike| strike.into()).collect();
        let is_numbered = self.strikes.iter().all(|strike| matches!(strike.at, At::Call(_)));
        let tries = if is_numbered { 1 } else { tries };
        let mut played = play::play(self.scenario, programs, &traces, Some(self.oracle))?;
        for _ in 1..tries {
            if self.is_reached(&played) {
                break;
            }
            played = play::play(self.scenario, programs, &traces, Some(self.oracle))?;
        }
        Ok(played)
    }

    pub(crate) fn is_reached(&self, played: &Played) -> bool {
        played.steps.iter().filter(|steps| steps.is_reached()).count() == self.strikes.len()
    }
}

/// How many at once, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    pub(crate) jobs: usize,
    /// Nobody looks into the directories, as of a sabotaged build.
    pub(crate) forget: bool,
}

impl Lanes {
    /// Plays all tasks. `done` hears of each, and says whether to go on.
    pub(crate) fn play_all<'a>(
        self,
        tasks: &[Task<'a>],
        programs: &Binaries,
        mut done: impl FnMut(&Task<'a>, Result<&Played, &Violation>) -> ControlFlow<()>,
    ) {
        let style = "{bar:30} {pos}/{len} {elapsed} (left {eta}) {msg}";
        let style = ProgressStyle::with_template(style).expect("a template");
        let bar = ProgressBar::new(tasks.len() as u64).with_style(style);
        let play = |task: &&Task<'a>| {
            bar.set_message(task.point().to_string());
            task.play(programs, TRIES)
        };
        lanes::play_all(self.jobs, tasks, play, |task, played| {
            match &played {
                Err(violation) if self.forget => violation.forget(),
                Err(violation) => bar.suspend(|| tell(&task.point(), violation)),
                Ok(_) => {}
            }
            bar.inc(1);
            done(task, played.as_ref())
        });
        bar.finish_and_clear();
    }
}

/// Names a violation, and how to have it again.
pub(crate) fn tell(point: &Point, violation: &Violation) {
    common::tell!(
        "VIOLATION at {point}\n  {}\n  again: cargo xtask crash --replay {point}\n  everything about it: {}",
        violation.what,
        violation.kept.display()
    );
}

/// What an undisturbed run of each scenario leaves; `failed` hears of those that are not right.
pub(crate) fn oracles(
    scenarios: &[&'static Scenario],
    programs: &Binaries,
    mut failed: impl FnMut(&'static Scenario, String),
) -> Vec<(&'static Scenario, Oracle)> {
    let mut oracles = Vec::new();
    for &scenario in scenarios {
        match undisturbed(scenario, programs) {
            Ok(oracle) => oracles.push((scenario, oracle)),
            Err(what) => failed(scenario, what),
        }
    }
    oracles
}

/// What an undisturbed run leaves: the same with a COMMAND and without.
pub(crate) fn undisturbed(scenario: &Scenario, programs: &Binaries) -> Result<Oracle, String> {
    let play = |scenario: &Scenario, oracle| {
        play::play(scenario, programs, &[], oracle).map_err(|violation| violation.what)
    };
    let played = play(&scenario.without_work(), None)?;
    let oracle = Oracle::new(scenario, &played.log);
    let oracle = oracle.map_err(|what| format!("an undisturbed run: {what}"))?;
    if scenario.work.is_some() {
        play(scenario, Some(&oracle)).map_err(|what| format!("undisturbed, with work: {what}"))?;
    }
    Ok(oracle)
}
