//! The picture: from left to right as the messages go, then each worker with its queue, then the log. It fits
//! itself to the screen: in a small one what can be missed is left out. Colours only repeat what words say.

mod flow;
mod gauge;
mod log;
mod workers;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::Model;
use crate::snapshot::Snapshot;
use crate::terminal::harmless;

/// From this width on there is room for boxes.
const WIDE: u16 = 76;
/// Of what went wrong, so many lines are shown.
const TROUBLE_HEIGHT_MAX: u16 = 4;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let Some(snapshot) = model.snapshot.take() else {
        let why = model.trouble.as_deref().unwrap_or("looking…");
        frame.render_widget(Paragraph::new(why).wrap(Wrap { trim: true }), area);
        return;
    };
    let trouble = model
        .trouble
        .as_ref()
        .map_or(0, |why| (why.len() as u16 / area.width.max(1) + 1).min(TROUBLE_HEIGHT_MAX));
    let flow = if area.width >= WIDE { flow::HEIGHT } else { flow::SMALL_HEIGHT };
    let rest = area.height.saturating_sub(1 + trouble + flow);
    let Heights { workers, rate, log } = Heights::of(rest, snapshot.workers.len());
    let heights = [1, trouble, flow, workers, rate, log].map(Constraint::Length);
    let [title, trouble, flow, workers, rate, log] = Layout::vertical(heights).areas(area);
    draw_title(frame, title, &snapshot);
    if let Some(why) = &model.trouble {
        let why = Paragraph::new(why.as_str()).wrap(Wrap { trim: true });
        frame.render_widget(why.reversed(), trouble);
    }
    flow::draw(frame, flow, &snapshot);
    workers::draw(frame, workers, &snapshot, model);
    log::draw_rate(frame, rate, &model.rates);
    log::draw_lines(frame, log, &model.lines);
    model.snapshot = Some(snapshot);
}

/// Lines of what is below the flow.
struct Heights {
    workers: u16,
    rate: u16,
    log: u16,
}

impl Heights {
    fn of(rest: u16, workers: usize) -> Self {
        let rate = match rest {
            ..14 => 0,
            14..32 => 5,
            _ => 8,
        };
        let log = if rest < 8 { 0 } else { ((rest - rate) * 2 / 5).max(4) };
        let room = rest - rate - log;
        // What the workers do not need is the log's.
        let needed = u16::try_from(workers).unwrap_or(u16::MAX).saturating_add(workers::FRAME);
        let workers = if log > 0 { room.min(needed.max(workers::FRAME + 1)) } else { room };
        Self { workers, rate, log: if log > 0 { rest - rate - workers } else { 0 } }
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let right = match &snapshot.session {
        _ if area.width < WIDE => " q ends ".to_owned(),
        Some(session) => format!(" session {}   q ends ", session.id),
        None => " no session   q ends ".to_owned(),
    };
    let [left, right_area] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(right.chars().count() as u16)])
            .areas(area);
    let directory = snapshot.directory.canonicalize();
    let directory = directory.as_ref().unwrap_or(&snapshot.directory).display().to_string();
    let directory =
        gauge::cut_in_the_middle(&harmless(&directory), usize::from(left.width.saturating_sub(1)));
    frame.render_widget(Line::from(format!(" {directory}")).bold(), left);
    frame.render_widget(Line::from(right), right_area);
}
