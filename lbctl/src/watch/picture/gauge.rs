//! Fills as bars, and texts that are cut where there is no room for them.

use ratatui::style::{Style, Stylize};
use ratatui::text::Span;

/// Part of a whole, in percent.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    (part.saturating_mul(100) / whole.max(1)).min(100)
}

/// How full something is, as a bar and a number.
pub(super) fn bar(percent: u64, len: usize) -> Vec<Span<'static>> {
    // Anything at all shows as something.
    let full = (percent as usize * len).div_ceil(100);
    vec!["█".repeat(full).cyan(), "░".repeat(len - full).dim(), Span::from(format!(" {percent}%"))]
}

/// A text in so many columns. If it is too long its beginning and its end are kept, where a line of the log has what
/// it is about, and which message.
pub(super) fn cut_in_the_middle(text: &str, columns: usize) -> String {
    let whole = Span::raw(text);
    if whole.width() <= columns {
        return text.to_owned();
    }
    let graphemes = whole.styled_graphemes(Style::new());
    let parts: Vec<(&str, usize)> =
        graphemes.map(|it| (it.symbol, Span::raw(it.symbol).width())).collect();
    let room = columns.saturating_sub(1); // without the mark
    let end_room = room / 3;
    let mut used = 0;
    let mut fits = |width: usize, room: usize| {
        used += width;
        used <= room
    };
    let end = parts.iter().rev().take_while(|(_, width)| fits(*width, end_room)).count();
    used = 0;
    let mut fits = |width: usize| {
        used += width;
        used <= room - end_room
    };
    let start = parts.iter().take_while(|(_, width)| fits(*width)).count();
    let symbols = |parts: &[(&str, usize)]| parts.iter().map(|(it, _)| *it).collect::<String>();
    let mark = if columns > 0 { "…" } else { "" };
    symbols(&parts[..start]) + mark + &symbols(&parts[parts.len() - end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Received at lb: x (#message 7)", 80, "Received at lb: x (#message 7)")]
    #[case(
        "Received at lb: xxxxxxxxxxxxxxxxxxxx (#message 7)",
        40,
        "Received at lb: xxxxxxxxxx… (#message 7)"
    )]
    #[case("漢字漢字漢字漢字", 9, "漢字漢…字")]
    #[case("e\u{301}e\u{301}e\u{301}e\u{301}", 3, "e\u{301}e\u{301}…")]
    #[case("abc", 1, "…")]
    #[case("abc", 0, "")]
    fn texts(#[case] text: &str, #[case] columns: usize, #[case] cut: &str) {
        assert_eq!(cut_in_the_middle(text, columns), cut);
        assert!(Span::raw(cut).width() <= columns);
    }

    #[test]
    fn anything_at_all_shows_as_something() {
        let shown =
            |percent| bar(percent, 5).iter().map(|it| it.content.clone()).collect::<String>();
        assert_eq!(
            [0, 1, 50, 99, 100].map(shown),
            ["░░░░░ 0%", "█░░░░ 1%", "███░░ 50%", "█████ 99%", "█████ 100%"]
        );
    }
}
