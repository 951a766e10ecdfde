//! Throughput: of one submission of many messages, and of files of lines.

use std::collections::BTreeSet;

use comfy_table::Table;

use super::{figures, spread};
use crate::case::{Shape, count};
use crate::contest::CaseResult;
use crate::contestant::Contestant;
use crate::spread::Spread;

pub(super) fn throughput(results: &[CaseResult]) -> Table {
    let header = ["", "limit", "ours", "of limit", "limit's core", "raw queue", "line at a time"];
    let rows = results.iter().map(|result| {
        let rate = |contestant, digits| millions(result, contestant, digits).unwrap_or("-".into());
        [
            result.case.to_string(),
            rate(Contestant::Limit, 1),
            rate(Contestant::Ours, 2),
            of_limit(result),
            limit_core(result),
            rate(Contestant::RawQueue, 3),
            rate(Contestant::LineAtATime, 3),
        ]
    });
    figures(header, rows)
}

/// A row for each file.
pub(super) fn lines(results: &[CaseResult]) -> Table {
    let header = [
        "lines",
        "bytes",
        "N",
        "clients",
        "limit",
        "ours",
        "of limit",
        "limit's core",
        "pipes",
        "ZeroMQ",
        "Redis",
        "ours by pipes",
    ];
    let rows = results.iter().map(|result| {
        let clients = match result.shape {
            Shape::Many => 1,
            Shape::Lines { clients } => clients,
        };
        let rate = |contestant| {
            millions(result, contestant, 2).unwrap_or_else(|| "not installed".to_owned())
        };
        let mut row = [count(result.messages), result.text_bytes.to_string()].to_vec();
        row.extend([result.workers, clients].map(|number| number.to_string()));
        row.extend([Contestant::Limit, Contestant::Ours].map(rate));
        row.extend([of_limit(result), limit_core(result)]);
        row.extend([Contestant::Pipes, Contestant::ZeroMq, Contestant::Redis].map(rate));
        row.extend(result.times_pipes.map(|times| spread(&times, 2)));
        row
    });
    figures(header, rows)
}

/// A contestant's million messages per second, if it took part.
fn millions(result: &CaseResult, contestant: Contestant, digits: usize) -> Option<String> {
    let rate = result.score(contestant)?.messages_per_second;
    let [median, min, max] = [rate.median, rate.min, rate.max].map(|per_second| per_second / 1e6);
    Some(spread(&Spread { median, min, max, ..rate }, digits))
}

fn of_limit(result: &CaseResult) -> String {
    let void = if result.is_disturbed() { " void" } else { "" };
    format!("{:.3}{void}", result.of_limit.median)
}

fn limit_core(result: &CaseResult) -> String {
    format!("{:.0}%", 100.0 * result.limit_cpu_share.median)
}

pub(super) fn by_messages(results: &[&CaseResult]) -> Table {
    let rows = results.iter().map(|result| {
        let cost = |contestant| {
            result.score(contestant).map_or_else(String::new, |s| spread(&s.ns_per_message, 1))
        };
        [count(result.messages), cost(Contestant::Ours), cost(Contestant::Limit)]
    });
    figures(["ns per message", "ours", "limit"], rows)
}

/// A line for each N, a column for each number of messages for which N was varied; and from the first
/// and the last of them, what one more message costs.
pub(super) fn by_workers(results: &[&CaseResult]) -> Table {
    let varied = results.iter().filter(|r| r.workers != 3);
    let (messages, workers): (BTreeSet<u32>, BTreeSet<u32>) =
        varied.map(|r| (r.messages, r.workers)).unzip();
    let mut header = vec!["ns per message".to_owned()];
    header.extend(messages.iter().map(|&messages| format!("of {}", count(messages))));
    header.push("each further one".to_owned());
    let rows = workers.into_iter().chain([3]).collect::<BTreeSet<_>>().into_iter().map(|n| {
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
        [format!("N = {n}")].into_iter().chain(cells).chain([further]).collect::<Vec<_>>()
    });
    figures(header, rows)
}
