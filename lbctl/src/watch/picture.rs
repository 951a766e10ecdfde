//! The picture: from left to right as the messages go, then each worker with its queue, then the log.

use common::cell::HandState;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::Model;
use crate::snapshot::{Session, Snapshot, Worker};
use crate::terminal::{counted, grouped, span};

/// The least that it is made for.
const SIZE_MIN: (u16, u16) = (80, 24);
const FLOW_HEIGHT: u16 = 4;
const RATE_HEIGHT: u16 = 5;
const LOG_HEIGHT: u16 = 7;
const BAR_LEN: usize = 10;
/// Between two boxes of the flow.
const ARROW: &str = "─▶";

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    let Some(snapshot) = model.snapshot.clone() else {
        let why = model.trouble.clone().unwrap_or_else(|| "looking…".to_owned());
        frame.render_widget(Paragraph::new(why), area);
        return;
    };
    let heights = [
        Constraint::Length(1),
        Constraint::Length(FLOW_HEIGHT),
        Constraint::Min(3),
        Constraint::Length(RATE_HEIGHT),
        Constraint::Length(LOG_HEIGHT),
    ];
    let [title, flow, workers, rate, log] = Layout::vertical(heights).areas(area);
    draw_title(frame, title, &snapshot, model.trouble.as_deref());
    draw_flow(frame, flow, &snapshot);
    draw_workers(frame, workers, &snapshot, model);
    draw_rate(frame, rate, model);
    draw_log(frame, log, &model.lines);
    if (area.width, area.height) < SIZE_MIN && area.height > 0 {
        let hint = format!(" at least {} × {} is better ", SIZE_MIN.0, SIZE_MIN.1);
        let [line] = Layout::vertical([Constraint::Length(1)]).areas(area);
        frame.render_widget(Line::from(hint).right_aligned().reversed(), line);
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, trouble: Option<&str>) {
    let directory = snapshot.directory.canonicalize();
    let directory = directory.as_ref().unwrap_or(&snapshot.directory).display().to_string();
    let session = snapshot.session.as_ref();
    let session = session.map_or("no session".to_owned(), |it| format!("session {}", it.id));
    frame.render_widget(Line::from(format!(" {directory}")).bold(), area);
    let right = trouble.map_or_else(|| format!("{session}   q ends "), |why| format!("{why} "));
    frame.render_widget(Line::from(right).right_aligned(), area);
}

/// A box of the flow: its name, and two lines about it.
type Stage = (&'static str, String, String);

fn draw_flow(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let stages = stages(snapshot);
    let arrow = Constraint::Length(ARROW.chars().count() as u16);
    let mut widths = Vec::new();
    for (i, _) in stages.iter().enumerate() {
        if i > 0 {
            widths.push(arrow);
        }
        widths.push(Constraint::Fill(1));
    }
    let areas = Layout::horizontal(widths).split(area);
    for (i, (name, first, second)) in stages.into_iter().enumerate() {
        if i > 0 {
            let [_, middle, _] =
                Layout::vertical([1, 1, 2].map(Constraint::Length)).areas(areas[2 * i - 1]);
            frame.render_widget(Line::from(ARROW), middle);
        }
        let block = Block::bordered().title(name.bold());
        frame.render_widget(
            Paragraph::new(vec![first.into(), second.into()]).block(block),
            areas[2 * i],
        );
    }
}

fn stages(snapshot: &Snapshot) -> [Stage; 5] {
    let none = || "-".to_owned();
    let of = |what: fn(&Session) -> u64| {
        snapshot.session.as_ref().map_or_else(none, |session| short(what(session)))
    };
    let client = if snapshot.client_is_open { "one is open" } else { "none is open" };
    let ring = snapshot
        .session
        .as_ref()
        .map_or(0, |session| percent(session.ring_bytes, session.ring_bytes_max));
    let balancer = match &snapshot.balancer {
        None => "not running".to_owned(),
        Some(it) => it.process.map_or("running".to_owned(), |it| format!("process {}", it.pid)),
    };
    let alive = snapshot.workers.iter().filter(|worker| worker.alive).count();
    let all = snapshot.workers.len();
    let log = snapshot.log_bytes.map_or_else(none, |bytes| format!("{}B", short(bytes)));
    let dead = snapshot.session.as_ref().map_or(0, |session| session.dead);
    [
        ("clients", client.to_owned(), format!("{} sent", of(|it| it.accepted))),
        ("ledger", bar(ring, 6), format!("{} wait", of(|it| it.backlog))),
        ("balancer", balancer, format!("{} taken", of(|it| it.received))),
        ("workers", format!("{alive} of {all} here"), format!("{} done", of(|it| it.executed))),
        (
            "log",
            log,
            if dead > 0 {
                format!("{} dead", short(dead))
            } else {
                format!("{} whole", of(|it| it.logged))
            },
        ),
    ]
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, model: &mut Model) {
    let inside = usize::from(area.height.saturating_sub(3));
    model.page = inside.max(1);
    model.scroll(0);
    let all = snapshot.workers.len();
    let shown = model.first..(model.first + inside).min(all);
    let title = match all {
        _ if shown.len() == all => " queues and workers ".to_owned(),
        _ => format!(" queues and workers {} to {} of {all} (↑ ↓) ", shown.start + 1, shown.end),
    };
    let header = Row::new(["worker", "queue", "is", "executed", "left", "in hand"]);
    let widths = [6, 15, 14, 12, 10, 1].map(Constraint::Length);
    let widths = widths.into_iter().take(5).chain([Constraint::Fill(1)]);
    let rows = snapshot.workers[shown].iter().map(row);
    let table = Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn row(worker: &Worker) -> Row<'static> {
    let queue = worker.queue.map_or_else(
        || "no queue".to_owned(),
        |queue| bar(percent(queue.bytes, queue.bytes_max), BAR_LEN),
    );
    let is = match (worker.alive, worker.process) {
        (_, Some(it)) => format!("process {}", it.pid),
        (true, None) => "running".to_owned(),
        (false, None) => "not running".to_owned(),
    };
    let in_hand = worker.in_hand.map_or_else(String::new, |hand| {
        let attempt = hand.attempt;
        match hand.state {
            HandState::Running => format!("attempt {attempt}, {}", span(hand.seconds)),
            HandState::Pausing => format!("attempt {attempt} failed"),
            HandState::Left => format!("attempt {attempt} broke off"),
        }
    });
    let cells = [
        worker.worker.to_string(),
        queue,
        is,
        grouped(worker.executed),
        grouped(worker.backlog),
        in_hand,
    ];
    let row = Row::new(cells.map(Span::from));
    if worker.alive { row } else { row.style(Style::new().add_modifier(Modifier::DIM)) }
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let width = usize::from(area.width.saturating_sub(2));
    let skipped = model.rates.len().saturating_sub(width);
    let shown: Vec<u64> = model.rates.iter().skip(skipped).copied().collect();
    let now = model.rates.back().copied().unwrap_or(0);
    let most = shown.iter().copied().max().unwrap_or(0);
    let title = format!(" {} per second, at most {} ", counted(now, "message"), grouped(most));
    // The newest on the right.
    let padded: Vec<u64> = std::iter::repeat_n(0, width - shown.len()).chain(shown).collect();
    let line = Sparkline::default().data(padded).block(Block::bordered().title(title));
    frame.render_widget(line, area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, lines: &[String]) {
    let height = usize::from(area.height.saturating_sub(2));
    let last = lines.iter().skip(lines.len().saturating_sub(height));
    let lines: Vec<Line<'_>> = last.map(|line| Line::from(line.as_str())).collect();
    let block = Block::bordered().title(" the newest lines of sistem.log ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn percent(part: u64, whole: u64) -> u64 {
    (part.saturating_mul(100) / whole.max(1)).min(100)
}

/// How full something is.
fn bar(percent: u64, len: usize) -> String {
    // Anything at all shows as something.
    let full = (percent as usize * len).div_ceil(100);
    format!("{}{} {percent}%", "█".repeat(full), "░".repeat(len - full))
}

/// A number in few characters: 1.2 M.
fn short(number: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")];
    match UNITS.iter().find(|(least, _)| number >= *least) {
        Some((_, "k")) => format!("{:.1}k", number as f64 / 1e3),
        Some((unit, name)) => format!("{:.1}{name}", number as f64 / *unit as f64),
        None => number.to_string(),
    }
}
