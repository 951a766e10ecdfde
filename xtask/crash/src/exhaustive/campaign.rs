//! Plays many points, several at once: first single kills, then second ones during the recovery from
//! those that left a transaction pending.

use tests::Binaries;

use super::oracle::Oracle;
use super::plan::{self, Density};
use super::play::{self, Trace};
use super::point::{At, Moment, Point, Portion, Strike};
use super::report::Report;
use super::role::Role;
use super::scenario::Scenario;
use super::task::{self, Task};
use crate::findings::Findings;

/// What is tried.
pub(crate) struct Campaign<'a> {
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) thorough: bool,
    pub(crate) jobs: usize,
    pub(crate) programs: &'a Binaries,
}

impl Campaign<'_> {
    /// Finds until that is enough.
    pub(crate) fn run(&self, findings: Findings) -> Report {
        let mut report = Report::new(findings);
        let oracles = task::oracles(&self.scenarios, self.programs, &mut report.findings);
        if report.findings.go_on().is_break() {
            return report;
        }
        let singles = self.singles(&oracles, &mut report);
        let mut pending = Vec::new();
        task::play_all(self.jobs, &singles, self.programs, |task, played| {
            if report.single(&task.point, played) {
                pending.push((task.oracle, task.point.strikes[0]));
            }
            report.findings.go_on()
        });
        if report.findings.go_on().is_continue() {
            let doubles = self.doubles(&pending, &mut report);
            task::play_all(self.jobs, &doubles, self.programs, |task, played| {
                report.double(&task.point, played);
                report.findings.go_on()
            });
        }
        report
    }

    /// Counts each role's calls, and chooses where to kill it.
    fn singles<'a>(&self, oracles: &'a [Oracle], report: &mut Report) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        for oracle in oracles {
            let scenario = oracle.scenario;
            for role in scenario.roles() {
                let trace = Trace { role, stop: None };
                match play::play(scenario, self.programs, &[trace], Some(oracle)) {
                    Err(violation) => report.findings.failed(scenario.name, violation),
                    Ok(played) => {
                        let steps = played.steps.last().cloned().unwrap_or_default();
                        report.counted(scenario.name, role, steps.calls);
                        let density = Density {
                            outlive: scenario.by_hand
                                && scenario.rotation.is_none()
                                && matches!(role, Role::Worker(_)),
                            ..self.density(scenario.stride, tasks.len())
                        };
                        let strikes = plan::strikes(role, &steps, density).into_iter();
                        tasks.extend(strikes.map(|strike| Task {
                            oracle,
                            point: Point { scenario, strikes: vec![strike] },
                        }));
                    }
                }
            }
        }
        tasks
    }

    /// For each first kill that left a transaction pending: counts the calls of the recovery, and
    /// chooses where to kill that.
    fn doubles<'a>(&self, pending: &[(&'a Oracle, Strike)], report: &mut Report) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        let is_first_half = |first: &Strike| {
            (first.at, first.moment) == (At::Write(1), Moment::Torn(Portion::Half))
        };
        let is_doubled = |(oracle, first): &&(&Oracle, Strike)| {
            self.is_doubled(first)
                && (self.thorough || oracle.scenario.work.is_none() || is_first_half(first))
        };
        for &(oracle, first) in pending.iter().filter(is_doubled) {
            let scenario = oracle.scenario;
            let counting = Trace { role: scenario.recovery, stop: None };
            let traces = [first.into(), counting];
            match play::play(scenario, self.programs, &traces, Some(oracle)) {
                Err(violation) => report.findings.failed(scenario.name, violation),
                Ok(played) => {
                    let Some(steps) = played.steps.get(1) else { continue };
                    let stride = 8 * scenario.stride;
                    // What a recovery redoes is the same whether there is a COMMAND or not.
                    let density = match scenario.work {
                        None => self.density(stride, tasks.len()),
                        Some(_) => Density::sample(stride, tasks.len()),
                    };
                    let mut strikes = plan::strikes(scenario.recovery, steps, density);
                    strikes.retain(|second| self.is_second(second));
                    tasks.extend(strikes.into_iter().map(|second| Task {
                        oracle,
                        point: Point { scenario, strikes: vec![first, second] },
                    }));
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
