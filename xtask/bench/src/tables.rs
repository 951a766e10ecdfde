//! The report for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use super::case::{Shape, count};
use super::contest::{CaseResult, Contestant};
use super::report::Report;
use super::spread::Spread;
use super::work::{Contestant as Way, Work};

/// All sections that were measured.
pub(super) fn render(report: &Report) -> String {
    let mut out = format!(
        "{} cores, Linux {}; medians of {} rounds (least–greatest)\n",
        report.machine.cores, report.machine.kernel, report.rounds
    );
    if let Some(programs) = &report.programs {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "Programs: {}", programs.display());
    }
    let mut section = |title: &str, table: Table| {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n{title}\n{table}\n");
    };
    if let Some(results) = &report.throughput {
        section("Throughput, in million messages per second", throughput(results));
        let many = || results.iter().filter(|r| r.shape == Shape::Many && r.text_bytes == 6);
        let mut by_count: Vec<_> = many().filter(|r| r.workers == 3).collect();
        by_count.sort_by_key(|r| r.messages);
        section("Cost by number of messages, N = 3", by_messages(&by_count));
        if many().any(|r| r.workers != 3) {
            section("Cost by number of workers", by_workers(&many().collect::<Vec<_>>()));
        }
    }
    if let Some(latency) = &report.latency {
        let mut table =
            table(&["µs from publish to the worker's line", "min", "p50", "p99", "max"]);
        for (name, p) in [("ours", latency.ours), ("raw ping-pong", latency.ping_pong)] {
            let figures = [p.min, p.p50, p.p99, p.max].map(|us| format!("{us:.1}"));
            table.add_row([name.to_owned()].into_iter().chain(figures));
        }
        section(&format!("Latency, {} messages, one at a time", latency.messages), right(table));
    }
    if let Some(peaks) = &report.memory {
        let mut table = table(&["messages", "N", "program", "resident at most, KiB"]);
        for peak in peaks {
            let singles = if peak.shape == Shape::Singles { " × 1" } else { "" };
            let messages = format!("{}{singles}", count(peak.messages));
            let kib = (peak.bytes / 1024).to_string();
            table.add_row([messages, peak.workers.to_string(), peak.program.clone(), kib]);
        }
        section("Memory", right(table));
    }
    if let Some(rows) = &report.system_calls {
        let mut table = table(&["program", "calls", "of a job of one", "per further message"]);
        for row in rows {
            let (calls, one) = (row.calls.to_string(), row.calls_for_one.to_string());
            table.add_row([row.program.clone(), calls, one, format!("{:.5}", row.per_message)]);
        }
        let messages = rows.first().map_or(0, |row| row.messages);
        section(&format!("System calls, {} messages", count(messages)), right(table));
    }
    if let Some(rows) = &report.idle {
        let mut table = table(&["program", "wake-ups per second"]);
        for row in rows {
            table.add_row([row.program.clone(), format!("{:.2}", row.per_second)]);
        }
        section("Idle in --serve", right(table));
    }
    if let Some(startup) = &report.startup {
        let mut table = table(&["ms from nothing to the end", "median (least–greatest)"]);
        table.add_row(["ours", &spread(&startup.ours_ms, 2)]);
        table.add_row(["five processes that do nothing", &spread(&startup.nothing_ms, 2)]);
        table.add_row(["ratio", &spread(&startup.times_nothing, 2)]);
        section("Halo A;10 with 3 workers", right(table));
    }
    if let Some(results) = &report.work {
        section(
            "Work: a COMMAND for each message, and with --lines one that is kept",
            work(results),
        );
    }
    let mut goals = table(&["goal", "", "measured", "met"]);
    for goal in &report.goals {
        let met = match goal.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "void: busy machine",
        };
        goals.add_row([&goal.what, &goal.wanted, &format!("{:.2}", goal.measured), met]);
    }
    section("Goals", goals);
    out
}

fn throughput(results: &[CaseResult]) -> Table {
    let mut table =
        table(&["", "limit", "ours", "of limit", "limit's core", "raw queue", "line at a time"]);
    for result in results {
        let rate = |contestant, digits| {
            let rate = |score: &super::contest::Score| {
                let rate = score.messages_per_second;
                let millions = |per_second: f64| per_second / 1e6;
                let rate = Spread {
                    median: millions(rate.median),
                    min: millions(rate.min),
                    max: millions(rate.max),
                    ..rate
                };
                spread(&rate, digits)
            };
            result.score(contestant).map_or_else(|| "-".to_owned(), rate)
        };
        table.add_row([
            result.case.to_string(),
            rate(Contestant::Limit, 1),
            rate(Contestant::Ours, 2),
            format!(
                "{:.3}{}",
                result.of_limit.median,
                if result.is_disturbed() { " void" } else { "" }
            ),
            format!("{:.0}%", 100.0 * result.limit_cpu_share.median),
            rate(Contestant::RawQueue, 3),
            rate(Contestant::LineAtATime, 3),
        ]);
    }
    right(table)
}

fn by_messages(results: &[&CaseResult]) -> Table {
    let mut table = table(&["ns per message", "ours", "limit"]);
    for result in results {
        let cost = |contestant| {
            result.score(contestant).map_or_else(String::new, |s| spread(&s.ns_per_message, 1))
        };
        table.add_row([count(result.messages), cost(Contestant::Ours), cost(Contestant::Limit)]);
    }
    right(table)
}

/// A line for each N, a column for each number of messages for which N was varied; and from the first
/// and the last of them, what one more message costs.
fn by_workers(results: &[&CaseResult]) -> Table {
    let varied = results.iter().filter(|r| r.workers != 3);
    let (messages, workers): (BTreeSet<u32>, BTreeSet<u32>) =
        varied.map(|r| (r.messages, r.workers)).unzip();
    let mut header = vec!["ns per message".to_owned()];
    header.extend(messages.iter().map(|&messages| format!("of {}", count(messages))));
    header.push("each further one".to_owned());
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for n in workers.into_iter().chain([3]).collect::<BTreeSet<_>>() {
        let costs: Vec<_> = messages
            .iter()
            .map(|&messages| {
                let result = results.iter().find(|r| (r.messages, r.workers) == (messages, n));
                let score = result.and_then(|result| result.score(Contestant::Ours));
                score.map(|score| (f64::from(messages), &score.ns_per_message))
            })
            .collect();
        let further = match costs.iter().flatten().collect::<Vec<_>>().as_slice() {
            [(few, of_few), .., (many, of_many)] => {
                format!("{:.1}", (of_many.median * many - of_few.median * few) / (many - few))
            }
            _ => "-".to_owned(),
        };
        let cells =
            costs.iter().map(|cost| cost.map_or_else(|| "-".into(), |(_, ns)| spread(ns, 1)));
        table.add_row([format!("N = {n}")].into_iter().chain(cells).chain([further]));
    }
    right(table)
}

fn work(results: &Work) -> Table {
    let header =
        ["COMMAND", "N", "by", "messages", "messages/s", "ours is faster, ×", "of the ideal time"];
    let mut table = table(&header);
    for race in &results.races {
        let task = race.task.name();
        let task = race.alone_ms.map_or_else(
            || task.to_owned(),
            |alone| format!("{task} (ideal: {:.1} ms)", alone.median),
        );
        for score in &race.scores {
            let figure = |figure: Option<Spread>| {
                figure.map_or_else(|| "-".to_owned(), |figure| self::spread(&figure, 2))
            };
            table.add_row([
                task.clone(),
                race.workers.to_string(),
                Way::name(score.contestant).to_owned(),
                count(score.messages),
                self::spread(&score.messages_per_second, 0),
                figure(score.ours_by_this),
                figure(score.of_ideal),
            ]);
        }
    }
    for missing in &results.not_installed {
        table.add_row(["", "", Way::name(*missing), "not installed"]);
    }
    right(table)
}

fn spread(spread: &Spread, digits: usize) -> String {
    let Spread { median, min, max, .. } = spread;
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

/// Figures stand under each other.
fn right(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
