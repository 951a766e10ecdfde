//! The goals of the product, each beside what was measured. They are shown, never asserted: figures
//! depend on the machine.

use serde::Serialize;

use super::case::Shape;
use super::report::Report;
use super::work::{Contestant, RaceResult, Task};

/// Most memory that a process may have resident.
const MEMORY_MAX_MB: f64 = 8.0;

/// One goal.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Goal {
    pub(super) what: String,
    /// `at least` or `at most` a number, with its unit.
    pub(super) wanted: String,
    pub(super) measured: f64,
    /// Nothing when it cannot be told, since other programs kept the machine busy.
    pub(super) met: Option<bool>,
}

impl Goal {
    fn at_least(what: String, least: f64, unit: &str, measured: f64) -> Self {
        let wanted = format!("at least {least}{unit}");
        Self { what, wanted, measured, met: Some(measured >= least) }
    }

    /// The measurement says nothing if it was disturbed.
    fn unless(self, disturbed: bool) -> Self {
        Self { met: self.met.filter(|_| !disturbed), ..self }
    }

    fn at_most(what: String, most: f64, unit: &str, measured: f64) -> Self {
        let wanted = format!("at most {most}{unit}");
        Self { what, wanted, measured, met: Some(measured <= most) }
    }
}

/// Those about which the report tells something.
pub(super) fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    let cases = report.throughput.iter().flatten();
    let usual = |shape| {
        let usual = cases.clone().filter(move |result| {
            (result.text_bytes, result.workers, result.shape) == (6, 3, shape)
        });
        // The largest up to 10^7 that was measured.
        usual.filter(|result| result.messages <= 10_000_000).max_by_key(|result| result.messages)
    };
    if let Some(result) = usual(Shape::Many) {
        let of_limit = result.of_limit.median;
        let case = &result.case;
        goals.push(
            Goal::at_least(format!("{case}: of the limit"), 0.5, "", of_limit)
                .unless(result.is_disturbed()),
        );
        if let Some(times) = result.times_line_at_a_time {
            let what = format!("{case}: faster than line at a time");
            goals.push(
                Goal::at_least(what, 100.0, " ×", times.median).unless(result.is_disturbed()),
            );
        }
    }
    if let Some(result) = usual(Shape::Singles)
        && let Some(ours) = result.score(super::contest::Contestant::Ours)
    {
        let rate = ours.messages_per_second.median / 1e6;
        goals.push(Goal::at_least(format!("{}", result.case), 1.0, " M messages/s", rate));
    }
    if let Some(latency) = &report.latency {
        let what = "latency p50, by the raw ping-pong's".to_owned();
        goals.push(Goal::at_most(what, 2.0, " ×", latency.ours.p50 / latency.ping_pong.p50));
    }
    if let Some(peak) = report.memory.iter().flatten().map(|peak| peak.bytes).max() {
        // Below 2^32: a process of 4 GB would not be told from a greater one.
        let mb = f64::from(u32::try_from(peak).unwrap_or(u32::MAX)) / 1e6;
        let what = "memory of the process that has most".to_owned();
        goals.push(Goal::at_most(what, MEMORY_MAX_MB, " MB", mb));
    }
    let idle = report.idle.iter().flatten().map(|idle| idle.per_second);
    if let Some(most) = idle.max_by(f64::total_cmp) {
        let what = "wake-ups of the idle process that has most".to_owned();
        let wanted = "fewer than 2 per second".to_owned();
        goals.push(Goal { what, wanted, measured: most, met: Some(most < 2.0) });
    }
    if let Some(startup) = &report.startup {
        let what = "Halo A;10, by five processes that do nothing".to_owned();
        goals.push(Goal::at_most(what, 2.0, " ×", startup.times_nothing.median));
    }
    goals.extend(report.work.iter().flat_map(|work| &work.races).flat_map(work));
    goals
}

fn work(race: &RaceResult) -> Vec<Goal> {
    let name = format!("{}, N = {}", race.task.name(), race.workers);
    let ours = race.score(Contestant::Ours);
    match race.task {
        Task::True => {
            let by = |(contestant, least)| {
                let what = format!("{name}: speed by that of {}", Contestant::name(contestant));
                let times = race.score(contestant)?.ours_by_this?.median;
                Some(Goal::at_least(what, least, " ×", times))
            };
            [(Contestant::Xargs, 0.8), (Contestant::Parallel, 4.0)]
                .into_iter()
                .filter_map(by)
                .collect()
        }
        Task::Answer => {
            let millions = ours.map(|score| score.messages_per_second.median / 1e6);
            let goal = |millions| Goal::at_least(name, 1.0, " M messages/s", millions);
            millions.map(goal).into_iter().collect()
        }
        // With many workers it is a matter of how many processes the machine can start.
        Task::Sleep if race.workers > 3 => Vec::new(),
        Task::Sleep | Task::Sleeper => {
            let share = ours.and_then(|score| score.of_ideal).map(|share| share.median);
            let what = format!("{name}: of the ideal");
            share.map(|share| Goal::at_least(what, 0.95, "", share)).into_iter().collect()
        }
    }
}
