//! Each worker: its queue, how much it has done, and what it has in hand.

use common::ledger::cell::HandState;
use common::program::advice;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

use super::gauge::{bar, percent};
use crate::snapshot::{InHand, Process, Seen, Snapshot, State, Worker};
use crate::terminal::{fitted, span};
use crate::watch::Model;

/// Lines of a border, and that of the titles.
pub(super) const FRAME: u16 = 3;

/// What is in the columns, by how wide the screen is.
struct Columns {
    bar: usize,
    process: bool,
    executed: usize,
    backlog: usize,
    in_hand: Detail,
}

/// How much is said of a message in hand.
enum Detail {
    Attempt,
    AndTime,
    AndMessage,
}

impl Columns {
    fn of(width: u16) -> Self {
        match width {
            ..76 => {
                Self { bar: 4, process: false, executed: 8, backlog: 0, in_hand: Detail::Attempt }
            }
            76..110 => {
                Self { bar: 8, process: true, executed: 11, backlog: 9, in_hand: Detail::AndTime }
            }
            _ => Self {
                bar: 12,
                process: true,
                executed: 14,
                backlog: 14,
                in_hand: Detail::AndMessage,
            },
        }
    }

    fn titles(&self) -> Row<'static> {
        let right = |title: &'static str| Line::from(title).right_aligned();
        let mut titles = vec![right("worker"), "queue".into()];
        titles.extend(self.process.then(|| "process".into()));
        titles.push(right("executed"));
        titles.extend((self.backlog > 0).then(|| right("backlog")));
        titles.push("in hand".into());
        Row::new(titles).style(Style::new().bold())
    }

    fn widths(&self) -> Vec<Constraint> {
        let length = |len: usize| Constraint::Length(len as u16);
        let mut widths = vec![length(6), length(self.bar + " 100%".len())];
        widths.extend(self.process.then(|| length("4194304 stopped".len())));
        widths.push(length(self.executed));
        widths.extend((self.backlog > 0).then(|| length(self.backlog)));
        widths.push(Constraint::Fill(1));
        widths
    }

    fn row(&self, worker: &Worker) -> Row<'static> {
        let right = |text: String| Line::from(text).right_aligned();
        let queue = worker.queue.map_or_else(
            || "no queue".into(),
            |queue| Line::from(bar(percent(queue.bytes, queue.bytes_max), self.bar)),
        );
        let mut cells = vec![right(worker.worker.to_string()), queue];
        cells.extend(self.process.then(|| process(&worker.process).into()));
        cells.push(right(fitted(worker.executed, self.executed)));
        cells.extend((self.backlog > 0).then(|| right(fitted(worker.backlog, self.backlog))));
        cells.push(match worker.in_hand {
            Some(hand) => in_hand(&hand, &self.in_hand).into(),
            None if !self.process => process(&worker.process).into(),
            None => Line::default(),
        });
        Row::new(cells)
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, model: &mut Model) {
    let all = snapshot.workers.len();
    let inside = usize::from(area.height.saturating_sub(FRAME));
    model.page = inside.max(1);
    model.first = model.first.min(all.saturating_sub(model.page));
    let shown = model.first..(model.first + inside).min(all);
    let mut block = Block::bordered().title(match all {
        _ if shown.len() == all => " queues and workers ".to_owned(),
        _ => format!(" queues and workers {} to {} of {all} (↑ ↓) ", shown.start + 1, shown.end),
    });
    let dead = snapshot.session.as_ref().map_or(0, |session| session.dead);
    if dead > 0 {
        let list = advice::command("lbctl dead list", "");
        let dead = format!(" {} dead: {list} ", fitted(dead, 7));
        block = block.title(Line::from(dead.red()).right_aligned());
    }
    if all == 0 {
        let hint = Paragraph::new(hint(snapshot.state)).wrap(Wrap { trim: true }).block(block);
        frame.render_widget(hint, area);
        return;
    }
    let columns = Columns::of(area.width);
    let rows = snapshot.workers[shown].iter().map(|worker| columns.row(worker));
    frame.render_widget(
        Table::new(rows, columns.widths()).header(columns.titles()).block(block),
        area,
    );
}

/// What to do where nobody is.
fn hint(state: State) -> String {
    let start = |n| advice::command("loadbalancer", n);
    match state {
        State::LedgerMissing => format!(
            "The log ends inside a session, and its ledger is not here: `{}` reads it back.",
            start("N")
        ),
        State::Unfinished => format!("The session waits for a load balancer: `{}`.", start("3")),
        State::Running => "The load balancer's workers are not there yet.".to_owned(),
        State::Finished => format!(
            "Nothing is going on here. `{}` starts a load balancer, `{}` submits ten messages.",
            start("--serve 3"),
            advice::command("client", "\"Halo A;10\"")
        ),
    }
}

fn process(process: &Process) -> Span<'static> {
    match process {
        Process::NotRunning => "not running".red(),
        Process::Running(Seen { pid, .. }) => pid.to_string().green(),
        Process::Stopped(Seen { pid, .. }) => format!("{pid} stopped").yellow(),
        Process::Hidden => "running".green(),
    }
}

fn in_hand(hand: &InHand, detail: &Detail) -> Span<'static> {
    let InHand { attempt, seconds, .. } = hand;
    let text = match hand.state {
        HandState::Running if matches!(detail, Detail::Attempt) => format!("attempt {attempt}"),
        HandState::Running => format!("attempt {attempt}, {}", briefly(*seconds)),
        HandState::Pausing => format!("attempt {attempt} failed"),
        HandState::Left => format!("attempt {attempt} broke off"),
    };
    let text = match detail {
        Detail::AndMessage => format!("message {}: {text}", hand.id.message.saturating_add(1)),
        Detail::Attempt | Detail::AndTime => text,
    };
    if *attempt > 1 || hand.state != HandState::Running { text.yellow() } else { text.into() }
}

/// A span of time in its two largest units.
fn briefly(seconds: f64) -> String {
    span(seconds).split(' ').take(2).collect::<Vec<_>>().join(" ")
}
