//! What reports look like: marks, bars, numbers. [`anstream`] takes the colours out again where no
//! terminal shows them.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use common::error::Error;
use common::grammar::submission::is_forbidden;
use serde::Serialize;

/// Good news.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Bad news.
pub const RED: Style = AnsiColor::Red.on_default().bold();
/// What can be skipped.
pub const DIM: Style = Style::new().dimmed();

/// So many workers are listed one by one.
const WORKERS_LISTED_MAX: usize = 16;
const BAR_LEN: u64 = 30;
/// Longer lines of a log are cut short for people.
const TEXT_LEN_MAX: usize = 160;

/// The mark in front of what was checked.
#[must_use]
pub fn mark(passed: bool) -> String {
    let (style, mark) = if passed { (GREEN, "✓") } else { (RED, "✗") };
    format!("{style}{mark}{style:#}")
}

/// Each worker's share as a bar, a line each.
pub struct Shares<'a>(pub &'a [u64]);

impl fmt::Display for Shares<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.0.iter().copied().max().unwrap_or(0).max(1);
        for (k, &share) in (1..).zip(self.0).take(WORKERS_LISTED_MAX) {
            // Anything at all shows as something.
            let len = (share * BAR_LEN).div_ceil(most);
            let bar = "█".repeat(usize::try_from(len).unwrap_or(0));
            writeln!(f, "    worker {k:<3} {bar:<30} {}", grouped(share))?;
        }
        let unlisted = self.0.get(WORKERS_LISTED_MAX..).unwrap_or_default();
        if let (Some(least), Some(most)) = (unlisted.iter().min(), unlisted.iter().max()) {
            let (least, most) = (grouped(*least), grouped(*most));
            writeln!(f, "    … and {} more with {least} to {most} each", unlisted.len())?;
        }
        Ok(())
    }
}

/// A number that people can read: `1,000,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number in at most six characters: `1.23M`. Rounded down: it never says that more is done than is.
#[must_use]
pub fn short(number: u64) -> String {
    const UNITS: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];
    if number < 10_000 {
        return number.to_string();
    }
    let thousands = number.ilog10() / 3;
    let unit = 10_u64.pow(thousands * 3);
    let (whole, rest) = (number / unit, number % unit);
    let name = UNITS[thousands as usize - 1];
    match whole {
        ..10 => format!("{whole}.{:02}{name}", rest / (unit / 100)),
        10..100 => format!("{whole}.{}{name}", rest / (unit / 10)),
        _ => format!("{whole}{name}"),
    }
}

/// A number as exact as there is room for.
#[must_use]
pub fn fitted(number: u64, room: usize) -> String {
    let grouped = grouped(number);
    if grouped.len() <= room { grouped } else { short(number) }
}

/// A number with its noun: `1 line`, `2 lines`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A span of time as people say it.
#[must_use]
pub fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.trunc()).unwrap_or_default();
    if seconds < 10.0 {
        format!("{seconds:.1}s")
    } else {
        humantime::format_duration(whole).to_string()
    }
}

/// A text of at most a few lines in a terminal.
#[must_use]
pub fn shortened(text: &str) -> String {
    if text.chars().count() <= TEXT_LEN_MAX {
        return text.to_owned();
    }
    let half = TEXT_LEN_MAX / 2;
    let start: String = text.chars().take(half).collect();
    let end: Vec<char> = text.chars().rev().take(half).collect();
    format!("{start} […] {}", end.iter().rev().collect::<String>())
}

/// A text from elsewhere, without what a terminal would take for a command or show as another text.
#[must_use]
pub fn harmless(text: &str) -> String {
    let escaped = |c: char| if is_forbidden(c) { c.escape_unicode().to_string() } else { c.into() };
    text.chars().map(escaped).collect()
}

/// Prints a text to standard output. Who has closed that has seen enough: no error.
pub fn print(text: &str) -> Result<(), Error> {
    let mut stdout = AutoStream::auto(io::stdout().lock());
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Error::system("standard output")),
    }
}

/// Prints what a program reads.
pub fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(value).map_err(io::Error::from);
    print(&(json.map_err(Error::system("JSON"))? + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0 lines")]
    #[case(1, "1 line")]
    #[case(999, "999 lines")]
    #[case(1_000, "1,000 lines")]
    #[case(1_234_567, "1,234,567 lines")]
    fn numbers(#[case] number: u64, #[case] text: &str) {
        assert_eq!(counted(number, "line"), text);
    }

    #[rstest]
    #[case(0, "0")]
    #[case(9_999, "9999")]
    #[case(10_000, "10.0k")]
    #[case(12_399, "12.3k")]
    #[case(999_999, "999k")]
    #[case(1_000_000, "1.00M")]
    #[case(9_999_999, "9.99M")]
    #[case(1_000_000_000, "1.00G")]
    #[case(u64::MAX, "18.4E")]
    fn numbers_in_little_room(#[case] number: u64, #[case] text: &str) {
        assert_eq!(short(number), text);
        assert_eq!(
            fitted(number, 5),
            if number < 10_000 { grouped(number) } else { short(number) }
        );
        assert_eq!(fitted(number, 26), grouped(number));
    }

    #[test]
    fn bars_are_proportional_and_nothing_is_nothing() {
        let shares = Shares(&[30, 15, 1, 0]).to_string();
        let lens: Vec<usize> = shares.lines().map(|line| line.matches('█').count()).collect();
        assert_eq!(lens, [30, 15, 1, 0]);
        assert!(Shares(&[4; 20]).to_string().contains("… and 4 more with 4 to 4 each"));
    }

    #[test]
    fn nothing_reaches_a_terminal_as_a_command() {
        assert_eq!(harmless("é \x1b[1m\n\u{202e}x"), "é \\u{1b}[1m\\u{a}\\u{202e}x");
    }

    #[test]
    fn long_texts_keep_both_ends() {
        let text = format!("begin{}end", "x".repeat(5000));
        let short = shortened(&text);
        assert!(short.starts_with("begin") && short.ends_with("end") && short.len() < 200);
    }
}
