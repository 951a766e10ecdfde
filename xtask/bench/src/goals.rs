//! The goals of the product, each beside what was measured. They are shown, never asserted: figures
//! depend on the machine.

use super::case::{Shape, count};
use super::contest::{CaseResult, Score};
use super::contestant::Contestant;
use super::goal::Goal;
use super::report::Report;
use super::spread::Spread;
use super::texts::Lens;
use super::work::{Contestant as Way, RaceResult, Task};

/// Most memory that a process may have resident.
const MEMORY_MAX_MB: f64 = 8.0;

/// Those about which the report tells something.
pub(super) fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    let usual = report.throughput.iter().flatten();
    let usual = usual.filter(|result| (result.text_bytes, result.workers) == (Lens::exactly(6), 3));
    // The largest up to 10^7 that was measured.
    let usual = usual.filter(|result| result.messages <= 10_000_000);
    if let Some(result) = usual.max_by_key(|result| result.messages) {
        goals.push(of_limit(result, 0.5));
        if let Some(times) = result.times_line_at_a_time {
            let what = format!("{}: faster than line at a time", result.case);
            let goal = Goal::at_least(what, 100.0, " ×", times.median);
            goals.push(goal.unless(result.is_disturbed()));
        }
    }
    goals.extend(report.lines.iter().flat_map(|results| lines(results)));
    if let Some(latency) = &report.latency {
        let what = "latency p50, by the raw ping-pong's";
        goals.push(Goal::at_most(what, 1.9, " ×", latency.ours.p50 / latency.ping_pong.p50));
    }
    if let Some(peak) = report.memory.iter().flatten().map(|peak| peak.bytes).max() {
        // Below 2^32: a process of 4 GB could not be distinguished from a greater one.
        let mb = f64::from(u32::try_from(peak).unwrap_or(u32::MAX)) / 1e6;
        let what = "memory of the process that has most";
        goals.push(Goal::at_most(what, MEMORY_MAX_MB, " MB", mb));
    }
    let idle = report.idle.iter().flatten().map(|idle| idle.per_second);
    if let Some(most) = idle.max_by(f64::total_cmp) {
        let what = "wake-ups of the idle process that has most".to_owned();
        let wanted = "fewer than 2 per second".to_owned();
        goals.push(Goal { what, wanted, measured: most, met: Some(most < 2.0) });
    }
    if let Some(startup) = &report.startup {
        let what = "Halo A;10, by five processes that do nothing";
        goals.push(Goal::at_most(what, 1.4, " ×", startup.times_nothing.median));
    }
    goals.extend(report.work.iter().flat_map(|work| &work.races).flat_map(work));
    goals
}

fn of_limit(result: &CaseResult, least: f64) -> Goal {
    let what = format!("{}: of the limit", result.case);
    Goal::at_least(what, least, "", result.of_limit.median).unless(result.is_disturbed())
}

/// For files of lines.
fn lines(results: &[CaseResult]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let is_usual = |result: &&CaseResult| result.workers == 3 && result.text_bytes.max == 12;
    let (mut by_one, by_many): (Vec<_>, Vec<_>) = results
        .iter()
        .filter(is_usual)
        .partition(|result| result.shape == Shape::Lines { clients: 1 });
    by_one.sort_by_key(|result| result.messages);
    if let Some(result) = by_one.iter().rfind(|result| result.messages <= 1_000_000) {
        goals.push(of_limit(result, 0.2));
        let millions = ours(result, |score| score.messages_per_second) / 1e6;
        goals.push(Goal::at_least(result.case.to_string(), 1.0, " M messages/s", millions));
    }
    // What each further one costs, so the start of processes does not count.
    if let [few, more, .., most] = by_one.as_slice() {
        let seconds = |result: &CaseResult| ours(result, |score| score.seconds);
        let further = |few: &CaseResult, many: &CaseResult| {
            (seconds(many) - seconds(few)) / f64::from(many.messages - few.messages)
        };
        let what = format!("{}: a message, by one of {}", most.case, count(more.messages));
        let goal = Goal::at_most(what, 1.25, " ×", further(more, most) / further(few, more));
        goals.push(goal.unless([few, more, most].iter().any(|result| result.is_disturbed())));
    }
    for many in by_many {
        let Some(one) = by_one.iter().find(|one| one.messages == many.messages) else { continue };
        let rate = |result| ours(result, |score| score.messages_per_second);
        let what = format!("{}: speed by that of one client", many.case);
        let goal = Goal::at_least(what, 1.0, " ×", rate(many) / rate(one));
        goals.push(goal.unless(one.is_disturbed() || many.is_disturbed()));
    }
    goals
}

/// The median of something of ours.
fn ours(result: &CaseResult, of: impl Fn(&Score) -> Spread) -> f64 {
    result.score(Contestant::Ours).map_or(f64::NAN, |score| of(score).median)
}

fn work(race: &RaceResult) -> Vec<Goal> {
    let name = format!("{}, N = {}", race.task.name(), race.workers);
    let ours = race.score(Way::Ours);
    match race.task {
        Task::True => {
            let by = |(contestant, least)| {
                let what = format!("{name}: speed by that of {}", Way::name(contestant));
                let times = race.score(contestant)?.ours_by_this?.median;
                Some(Goal::at_least(what, least, " ×", times))
            };
            [(Way::Xargs, 0.8), (Way::Parallel, 4.0)].into_iter().filter_map(by).collect()
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
