//! The report for people.

mod contests;

use std::fmt::Write;

use comfy_table::{CellAlignment, Row, Table, presets::ASCII_MARKDOWN};

use super::case::{Shape, count};
use super::latency::Percentiles;
use super::report::Report;
use super::spread::Spread;
use super::texts::Lens;
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
        section("Throughput, in million messages per second", contests::throughput(results));
        let usual = || results.iter().filter(|r| r.text_bytes == Lens::exactly(6));
        let mut by_count: Vec<_> = usual().filter(|r| r.workers == 3).collect();
        by_count.sort_by_key(|r| r.messages);
        section("Cost by number of messages, N = 3", contests::by_messages(&by_count));
        if usual().any(|r| r.workers != 3) {
            let by_workers = contests::by_workers(&usual().collect::<Vec<_>>());
            section("Cost by number of workers", by_workers);
        }
    }
    if let Some(results) = &report.lines {
        section(
            "A file of lines, a text each, in million messages per second",
            contests::lines(results),
        );
    }
    if let Some(latency) = &report.latency {
        let header = ["µs from publish to the worker's line", "min", "p50", "p99", "max"];
        let row = |name: &str, p: Percentiles| {
            let figures = [p.min, p.p50, p.p99, p.max].map(|us| format!("{us:.1}"));
            [name.to_owned()].into_iter().chain(figures)
        };
        let rows = [row("ours", latency.ours), row("raw ping-pong", latency.ping_pong)];
        let title = format!("Latency, {} messages, one at a time", latency.messages);
        section(&title, figures(header, rows));
    }
    if let Some(peaks) = &report.memory {
        let rows = peaks.iter().map(|peak| {
            let lines = if peak.shape == Shape::Many { "" } else { " lines" };
            let messages = format!("{}{lines}", count(peak.messages));
            let kib = (peak.bytes / 1024).to_string();
            [messages, peak.workers.to_string(), peak.program.clone(), kib]
        });
        let header = ["messages", "N", "program", "resident at most, KiB"];
        section("Memory", figures(header, rows));
    }
    if let Some(programs) = &report.system_calls {
        let rows = programs.iter().map(|it| {
            let (calls, one) = (it.calls.to_string(), it.calls_for_one.to_string());
            [it.program.clone(), calls, one, format!("{:.5}", it.per_message)]
        });
        let messages = programs.first().map_or(0, |it| it.messages);
        let header = ["program", "calls", "of a job of one", "per further message"];
        section(&format!("System calls, {} messages", count(messages)), figures(header, rows));
    }
    if let Some(processes) = &report.idle {
        let rows = processes.iter().map(|it| [it.program.clone(), format!("{:.2}", it.per_second)]);
        section("Idle in --serve", figures(["program", "wake-ups per second"], rows));
    }
    let turns = ["ms from nothing to the end", "median (least–greatest)"];
    if let Some(startup) = &report.startup {
        let rows = [
            ["ours", &spread(&startup.ours_ms, 2)],
            ["five processes that do nothing", &spread(&startup.nothing_ms, 2)],
            ["ratio", &spread(&startup.times_nothing, 2)],
        ];
        section("Halo A;10 with 3 workers", figures(turns, rows));
    }
    if let Some(watched) = &report.watched {
        let rows = [
            ["alone", &spread(&watched.alone_ms, 1)],
            ["beside lbctl watch", &spread(&watched.beside_watch_ms, 1)],
            ["ratio", &spread(&watched.times_alone, 3)],
        ];
        section(&format!("Watched, {} messages", count(watched.messages)), figures(turns, rows));
    }
    if let Some(results) = &report.work {
        section(
            "Work: a COMMAND for each message, and with --lines one that is kept",
            work(results),
        );
    }
    let goals = report.goals.iter().map(|goal| {
        let met = match goal.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "void: busy machine",
        };
        [goal.what.clone(), goal.wanted.clone(), format!("{:.2}", goal.measured), met.to_owned()]
    });
    section("Goals", table(["goal", "", "measured", "met"], goals));
    out
}

fn work(results: &Work) -> Table {
    let header =
        ["COMMAND", "N", "by", "messages", "messages/s", "ours is faster, ×", "of the ideal time"];
    let mut rows = Vec::new();
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
            rows.push(vec![
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
        rows.push(["", "", Way::name(*missing), "not installed"].map(str::to_owned).to_vec());
    }
    figures(header, rows)
}

fn spread(spread: &Spread, digits: usize) -> String {
    let Spread { median, min, max, .. } = spread;
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}

fn table<R: Into<Row>>(header: impl Into<Row>, rows: impl IntoIterator<Item = R>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header).add_rows(rows);
    table
}

/// With figures after the first column, that are aligned under each other.
fn figures<R: Into<Row>>(header: impl Into<Row>, rows: impl IntoIterator<Item = R>) -> Table {
    let mut table = table(header, rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
