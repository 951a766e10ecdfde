//! The log: how fast it has grown of late, and its newest lines.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Sparkline};

use super::WIDE;
use super::gauge::cut_in_the_middle;
use crate::terminal::{counted, grouped, short};

/// Messages executed per second, the newest on the right.
pub(super) fn draw_rate(frame: &mut Frame<'_>, area: Rect, rates: &VecDeque<u64>) {
    let width = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = rates.iter().skip(rates.len().saturating_sub(width)).copied().collect();
    let now = rates.back().copied().unwrap_or(0);
    let most = shown.iter().copied().max().unwrap_or(0);
    let title = if area.width >= WIDE {
        let (now, most) = (counted(now, "message"), grouped(most));
        format!(" {now} per second; at most {most} in the last {} s ", shown.len())
    } else {
        format!(" {}/s, at most {}/s ", short(now), short(most))
    };
    let padded: Vec<u64> = std::iter::repeat_n(0, width - shown.len()).chain(shown).collect();
    let line = Sparkline::default().data(padded).style(Style::new().fg(Color::Cyan));
    frame.render_widget(line.block(Block::bordered().title(title)), area);
}

/// As many of the newest lines as there is room for.
pub(super) fn draw_lines(frame: &mut Frame<'_>, area: Rect, lines: &[String]) {
    let height = usize::from(area.height.saturating_sub(2));
    let width = usize::from(area.width.saturating_sub(2));
    let newest = lines.iter().skip(lines.len().saturating_sub(height));
    let lines: Vec<Line<'_>> =
        newest.map(|line| Line::from(cut_in_the_middle(line, width))).collect();
    let block = Block::bordered().title(" the newest lines of sistem.log ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
