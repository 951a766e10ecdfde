//! Plays many points, several at once: first single kills, then second ones during the recovery from
//! those that left a transaction pending.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use tests::Binaries;

use super::oracle::Oracle;
use super::plan::{self, Density};
use super::play::{self, Played, Trace, Violation};
use super::point::{At, Moment, Part, Point, Role, Strike};
use super::report::Report;
use super::scenario::Scenario;
use super::stepper::Steps;

/// A point may be missed, since who writes next is a matter of microseconds: it is tried so often.
const TRIES: u32 = 4;
/// A replayed one is tried more often.
const REPLAY_TRIES: u32 = 50;

/// Every core is busy although runs mostly wait: 52 points a second with 4 at once on 2 cores, 80 with 10.
pub(crate) fn default_jobs() -> usize {
    4 * thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// What is tried.
pub(crate) struct Campaign {
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) thorough: bool,
    pub(crate) jobs: usize,
    pub(crate) stop_at_violation: bool,
}

/// One point to play.
struct Task<'a> {
    scenario: &'static Scenario,
    oracle: &'a Oracle,
    strikes: Vec<Strike>,
}

impl Task<'_> {
    fn point(&self) -> Point {
        Point { scenario: self.scenario.name.to_owned(), strikes: self.strikes.clone() }
    }

    /// Plays it until all its kills were reached. Kills at a numbered call are tried once: the calls
    /// beside them are tried too.
    fn play(&self, programs: &Binaries, tries: u32) -> Result<Played, Violation> {
        let traces: Vec<Trace> = self.strikes.iter().map(|&strike| strike.into()).collect();
        let tries =
            if self.strikes.iter().any(|s| matches!(s.at, At::Write(_))) { tries } else { 1 };
        let mut played = play::play(self.scenario, programs, &traces, Some(self.oracle))?;
        for _ in 1..tries {
            if self.is_reached(&played) {
                break;
            }
            played = play::play(self.scenario, programs, &traces, Some(self.oracle))?;
        }
        Ok(played)
    }

    fn is_reached(&self, played: &Played) -> bool {
        let reached = |steps: &&Steps| steps.struck.is_some() || steps.outlived;
        played.steps.iter().filter(reached).count() == self.strikes.len()
    }
}

impl Campaign {
    pub(crate) fn run(&self, programs: &Binaries) -> Report {
        let mut report = Report::default();
        let mut oracles = Vec::new();
        for &scenario in &self.scenarios {
            match undisturbed(scenario, programs) {
                Ok(oracle) => oracles.push((scenario, oracle)),
                Err(what) => report.failed(scenario.name, what),
            }
        }
        if self.stop_at_violation && !report.passed_so_far() {
            return report;
        }
        let singles = self.singles(&oracles, programs, &mut report);
        let mut pending = Vec::new();
        self.play_all(&singles, programs, |task, played| {
            if report.single(&task.point(), task.strikes[0].role, played) {
                pending.push((task.scenario, task.oracle, task.strikes[0]));
            }
            self.stop_at_violation && !report.passed_so_far()
        });
        if report.passed_so_far() || !self.stop_at_violation {
            let doubles = self.doubles(&pending, programs, &mut report);
            self.play_all(&doubles, programs, |task, played| {
                report.double(&task.point(), task.strikes[0].role, played);
                self.stop_at_violation && !report.passed_so_far()
            });
        }
        report
    }

    /// Counts each role's calls, and chooses where to kill it.
    fn singles<'a>(
        &self,
        oracles: &'a [(&'static Scenario, Oracle)],
        programs: &Binaries,
        report: &mut Report,
    ) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        for (scenario, oracle) in oracles {
            for role in scenario.roles() {
                let trace = Trace { role, stop: None };
                match play::play(scenario, programs, &[trace], Some(oracle)) {
                    Err(violation) => report.failed(scenario.name, violation.what),
                    Ok(played) => {
                        let steps = played.steps.last().cloned().unwrap_or_default();
                        report.counted(scenario.name, role, &steps);
                        let density = Density {
                            outlive: scenario.by_hand && matches!(role, Role::Worker(_)),
                            ..self.density(scenario.stride, tasks.len())
                        };
                        tasks.extend(
                            plan::strikes(role, &steps, density).into_iter().map(|strike| Task {
                                scenario,
                                oracle,
                                strikes: vec![strike],
                            }),
                        );
                    }
                }
            }
        }
        tasks
    }

    /// For each first kill that left a transaction pending: counts the calls of the recovery, and
    /// chooses where to kill that.
    fn doubles<'a>(
        &self,
        pending: &[(&'static Scenario, &'a Oracle, Strike)],
        programs: &Binaries,
        report: &mut Report,
    ) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        for &(scenario, oracle, first) in
            pending.iter().filter(|(.., first)| self.is_doubled(first))
        {
            let counting = Trace { role: scenario.recovery, stop: None };
            match play::play(scenario, programs, &[first.into(), counting], Some(oracle)) {
                Err(violation) => report.failed(scenario.name, violation.what),
                Ok(played) => {
                    let Some(steps) = played.steps.get(1) else { continue };
                    let density = self.density(8 * scenario.stride, tasks.len());
                    tasks.extend(
                        plan::strikes(scenario.recovery, steps, density)
                            .into_iter()
                            .filter(|second| self.is_second(second))
                            .map(|second| Task { scenario, oracle, strikes: vec![first, second] }),
                    );
                }
            }
        }
        tasks
    }

    /// The quick set kills again after two of the five ways to die in a write.
    fn is_doubled(&self, first: &Strike) -> bool {
        let often = matches!(first.moment, Moment::Entry | Moment::Torn(Part::Half));
        matches!(first.at, At::Write(_)) && (self.thorough || often)
    }

    /// … and again in the same two ways where the recovery writes.
    fn is_second(&self, second: &Strike) -> bool {
        matches!(second.at, At::Call(_)) || self.is_doubled(second)
    }

    /// The quick set begins elsewhere for each role, so that together they see more.
    fn density(&self, stride: u32, seed: usize) -> Density {
        if self.thorough {
            Density { stride: 1, offset: 0, thorough: true, outlive: false }
        } else {
            Density {
                stride,
                offset: u32::try_from(seed).unwrap_or(0) % stride,
                thorough: false,
                outlive: false,
            }
        }
    }

    /// Plays all tasks on several threads. `done` hears of each, and says whether to stop.
    fn play_all<'a>(
        &self,
        tasks: &[Task<'a>],
        programs: &Binaries,
        done: impl FnMut(&Task<'a>, Result<&Played, &Violation>) -> bool + Send,
    ) {
        let bar = progress_bar(tasks.len());
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done = Mutex::new(done);
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed)
                        && let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        bar.set_message(task.point().to_string());
                        let played = task.play(programs, TRIES);
                        match &played {
                            // Nobody looks into the directories of a sabotaged build.
                            Err(violation) if self.stop_at_violation => violation.forget(),
                            Err(violation) => bar.suspend(|| tell(&task.point(), violation)),
                            Ok(_) => {}
                        }
                        let mut done =
                            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        if done(task, played.as_ref()) {
                            stop.store(true, Ordering::Relaxed);
                        }
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
    }
}

fn progress_bar(len: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} (left {eta}) {msg}");
    ProgressBar::new(len as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn tell(point: &Point, violation: &Violation) {
    eprintln!(
        "VIOLATION at {point}\n  {}\n  again: cargo xtask crash --replay {point}\n  everything about it: {}",
        violation.what,
        violation.kept.display()
    );
}

fn undisturbed(scenario: &Scenario, programs: &Binaries) -> Result<Oracle, String> {
    let played = play::play(scenario, programs, &[], None).map_err(|violation| violation.what)?;
    Oracle::new(scenario, &played.log).map_err(|what| format!("an undisturbed run: {what}"))
}

/// Plays one point until its kills were reached. Returns whether no contract was broken.
pub(crate) fn replay(point: &Point, programs: &Binaries) -> bool {
    let Some(scenario) = Scenario::named(&point.scenario) else {
        eprintln!("there is no scenario `{}`", point.scenario);
        return false;
    };
    let played = undisturbed(scenario, programs).map(|oracle| {
        let task = Task { scenario, oracle: &oracle, strikes: point.strikes.clone() };
        task.play(programs, REPLAY_TRIES).map(|played| (task.is_reached(&played), played))
    });
    match played {
        Err(what) => eprintln!("{what}"),
        Ok(Err(violation)) => tell(point, &violation),
        Ok(Ok((false, _))) => eprintln!("{point} was never reached: the process ended before"),
        Ok(Ok((true, played))) => {
            for (strike, steps) in point.strikes.iter().zip(&played.steps) {
                let pending = steps.struck.is_some_and(|struck| struck.pending);
                if steps.outlived {
                    println!("a load balancer was replaced at {strike}");
                    continue;
                }
                println!(
                    "killed at {strike}, {}",
                    if pending { "inside a transaction" } else { "outside of any transaction" }
                );
            }
            println!("recovered: the log is that of an undisturbed run, and nothing is left");
            return true;
        }
    }
    false
}

/// Whether a role's kills are expected to hit transactions.
pub(crate) fn kind(role: Role) -> &'static str {
    match role {
        Role::Client(_) => "client",
        Role::Balancer => "balancer",
        Role::Worker(_) => "worker",
    }
}
