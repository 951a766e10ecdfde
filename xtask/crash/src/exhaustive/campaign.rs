//! Plays many points, several at once: first single kills, then second ones during the recovery from
//! those that left a transaction pending.

use std::ops::ControlFlow;

use tests::Binaries;

use super::oracle::Oracle;
use super::plan::{self, Density};
use super::play::{self, Trace};
use super::point::{At, Moment, Portion, Strike};
use super::report::Report;
use super::role::Role;
use super::scenario::Scenario;
use super::task::{self, Lanes, Task};

/// What is tried.
pub(crate) struct Campaign {
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) thorough: bool,
    pub(crate) jobs: usize,
    pub(crate) stop_at_violation: bool,
}

impl Campaign {
    pub(crate) fn run(&self, programs: &Binaries) -> Report {
        let mut report = Report::default();
        let oracles = task::oracles(&self.scenarios, programs, |scenario, what| {
            report.failed(scenario.name, what);
        });
        let lanes = Lanes { jobs: self.jobs, forget: self.stop_at_violation };
        if self.goes_on(&report).is_break() {
            return report;
        }
        let singles = self.singles(&oracles, programs, &mut report);
        let mut pending = Vec::new();
        lanes.play_all(&singles, programs, |task, played| {
            if report.single(&task.point(), task.strikes[0].role, played) {
                pending.push((task.scenario, task.oracle, task.strikes[0]));
            }
            self.goes_on(&report)
        });
        if self.goes_on(&report).is_continue() {
            let doubles = self.doubles(&pending, programs, &mut report);
            lanes.play_all(&doubles, programs, |task, played| {
                report.double(&task.point(), task.strikes[0].role, played);
                self.goes_on(&report)
            });
        }
        report
    }

    fn goes_on(&self, report: &Report) -> ControlFlow<()> {
        if self.stop_at_violation && !report.passed_so_far() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
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
                            outlive: scenario.by_hand
                                && scenario.rotation.is_none()
                                && matches!(role, Role::Worker(_)),
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
        let is_first_half = |first: &Strike| {
            (first.at, first.moment) == (At::Write(1), Moment::Torn(Portion::Half))
        };
        let is_doubled = |(scenario, _, first): &&(&Scenario, &Oracle, Strike)| {
            self.is_doubled(first)
                && (self.thorough || scenario.work.is_none() || is_first_half(first))
        };
        for &(scenario, oracle, first) in pending.iter().filter(is_doubled) {
            let counting = Trace { role: scenario.recovery, stop: None };
            match play::play(scenario, programs, &[first.into(), counting], Some(oracle)) {
                Err(violation) => report.failed(scenario.name, violation.what),
                Ok(played) => {
                    let Some(steps) = played.steps.get(1) else { continue };
                    let stride = 8 * scenario.stride;
                    // What a recovery redoes is the same whether there is a COMMAND or not.
                    let density = match scenario.work {
                        None => self.density(stride, tasks.len()),
                        Some(_) => Density::sample(stride, tasks.len()),
                    };
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
        let often = matches!(first.moment, Moment::Entry | Moment::Torn(Portion::Half));
        matches!(first.at, At::Write(_)) && (self.thorough || often)
    }

    /// … and again in the same two ways where the recovery writes.
    fn is_second(&self, second: &Strike) -> bool {
        matches!(second.at, At::Call(_)) || self.is_doubled(second)
    }

    /// All, or the quick set's.
    fn density(&self, stride: u32, seed: usize) -> Density {
        if self.thorough {
            Density { stride: 1, offset: 0, thorough: true, outlive: false }
        } else {
            Density::sample(stride, seed)
        }
    }
}
