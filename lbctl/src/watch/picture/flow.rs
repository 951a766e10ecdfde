//! The way of the messages: a box for each station, and how many have come so far.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use super::WIDE;
use super::gauge::{bar, percent};
use crate::snapshot::{Process, Seen, Session, Snapshot};
use crate::terminal::{fitted, short};

pub(super) const HEIGHT: u16 = 4;
/// Without boxes.
pub(super) const SMALL_HEIGHT: u16 = 2;
/// Between two boxes.
const ARROW: &str = "─▶";
const SMALL_BAR_LEN: usize = 6;

/// One of them.
struct Station {
    name: &'static str,
    state: Line<'static>,
    /// What `messages` counts, in the words of `lbctl status`.
    counts: &'static str,
    messages: Option<u64>,
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    if area.width >= WIDE {
        draw_boxes(frame, area, snapshot);
    } else {
        draw_small(frame, area, snapshot);
    }
}

fn draw_boxes(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let arrow = Constraint::Length(ARROW.chars().count() as u16);
    let widths = std::iter::repeat_n([Constraint::Fill(1), arrow], 5).flatten().take(9);
    let areas = Layout::horizontal(widths).split(area);
    let ring_room = usize::from(areas[2].width.saturating_sub(2));
    let stations = stations(snapshot, ring_room.saturating_sub(" 100%".len()));
    for (i, station) in stations.into_iter().enumerate() {
        if let Some(before) = (2 * i).checked_sub(1) {
            let [_, middle] = Layout::vertical([1, 1].map(Constraint::Length)).areas(areas[before]);
            frame.render_widget(Line::from(ARROW), middle);
        }
        let place = areas[2 * i];
        let room = usize::from(place.width.saturating_sub(2));
        let messages = station.messages.map_or("-".to_owned(), |number| fitted(number, room));
        let counts = Line::from(station.counts).right_aligned();
        let block = Block::bordered().title(station.name.bold()).title_bottom(counts);
        let inside = vec![station.state, Line::from(messages).right_aligned()];
        frame.render_widget(Paragraph::new(inside).block(block), place);
    }
}

/// Two lines: what has gone in, what has come out.
fn draw_small(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let [clients, ledger, balancer, workers, log] = stations(snapshot, SMALL_BAR_LEN);
    let of = |station: &Station| {
        let number = station.messages.map_or("-".to_owned(), short);
        format!("{number} {}", station.counts)
    };
    let mut first = vec![Span::from(format!("{} ▶ {} ", of(&clients), of(&ledger)))];
    first.extend(ledger.state.spans);
    let second = format!("▶ {} ▶ {} ▶ {}", of(&balancer), of(&workers), of(&log));
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), area);
}

fn stations(snapshot: &Snapshot, bar_len: usize) -> [Station; 5] {
    let session = snapshot.session.as_ref();
    let of = |what: fn(&Session) -> u64| session.map(what);
    let client = if snapshot.client_is_open { "one is open" } else { "none is open" };
    let ring = session.map_or(0, |session| percent(session.ring_bytes, session.ring_bytes_max));
    let balancer = match snapshot.balancer.process {
        Process::NotRunning => "not running".red(),
        Process::Running(Seen { pid, .. }) => format!("pid {pid}").green(),
        Process::Stopped(_) => "stopped".yellow(),
        Process::Hidden => "running".green(),
    };
    let all = snapshot.workers.len();
    let alive = snapshot.workers.iter().filter(|worker| worker.process.is_there()).count();
    let style = if alive == all { Style::new().green() } else { Style::new().red() };
    let workers =
        if all == 0 { "none".into() } else { Span::styled(format!("{alive} of {all}"), style) };
    let log =
        snapshot.log_bytes.map_or("none".to_owned(), |bytes| format!("{} bytes", short(bytes)));
    let station = |name, state: Line<'static>, counts, what: fn(&Session) -> u64| Station {
        name,
        state,
        counts,
        messages: of(what),
    };
    [
        station("clients", client.into(), "accepted", |it| it.accepted),
        station("ledger", bar(ring, bar_len).into(), "backlog", |it| it.backlog),
        station("balancer", balancer.into(), "received", |it| it.received),
        station("workers", workers.into(), "executed", |it| it.executed),
        station("log", log.into(), "logged", |it| it.logged),
    ]
}
