//! Draws what `lbctl watch` shows of a running system, as an SVG: the picture in the README.
//!
//! ```text
//! cargo run -p tests --example picture -- docs/watch.svg
//! ```
//!
//! Nothing in it is made up: the programs run, for a minute, in a temp directory, and the picture is that of a
//! terminal.
#![forbid(unsafe_code)]

#[path = "../tests/terminal/mod.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod terminal;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Text};
use terminal::Terminal;
use tests::{Binaries, Profile, Sandbox};
use vt100::{Cell, Color, Screen};

/// Columns and rows.
const SIZE: (u16, u16) = (100, 30);
/// How long the system works before the picture is taken.
const SECONDS: u32 = 60;
/// Some messages take longer than others, some fail once, some for good.
const WORK: &str = r#"
    n=${LB_ID##*-}
    if [ $((n % 23)) = 0 ] && [ "$LB_ATTEMPT" = 1 ]; then sleep 0.3; exit 75; fi
    if [ $((n % 701)) = 0 ]; then exit 65; fi
    sleep 0.$((n / 150 % 4 + 1))
"#;

/// Of a cell, in pixels.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d6d9df";

fn main() {
    let file = std::env::args_os().nth(1).map(PathBuf::from).expect("the name of an SVG file");
    let sandbox = Sandbox::new(Binaries::build(Profile::Dev));
    let args = ["--serve", "--retries", "3", "--backoff", "700ms", "8"];
    let mut balancer = sandbox.start_work(&args, &["sh", "-c", WORK]);
    let mut client = sandbox.start_with_pipe("client", &["--quiet"]);
    let mut input = client.take_stdin();
    let submissions: String = (1..=12_000).fold(String::new(), |mut lines, photo| {
        let _ = writeln!(lines, "resize photo-{photo:05}.jpg;1");
        lines
    });
    input.write_all(submissions.as_bytes()).expect("the client reads");
    let mut command = sandbox.command("lbctl", &["watch"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    let mut terminal = Terminal::start(command, SIZE.0, SIZE.1);
    for second in 1..=SECONDS {
        let start = Instant::now();
        let what = format!("{second} s have passed");
        terminal.wait_until(&what, |_| start.elapsed() >= Duration::from_secs(1));
    }
    terminal.wait_until("a second attempt", |terminal| terminal.shows("attempt 2, "));
    svg::save(&file, &drawn(terminal.screen())).expect("writing the SVG file");
    print!("{}", terminal.report());
    terminal.keys("q");
    terminal.end();
    drop((input, client));
    balancer.signal(Signal::SIGKILL);
    let _ = sandbox.end(&mut balancer);
}

fn drawn(screen: &Screen) -> Document {
    let (columns, rows) = (f64::from(SIZE.0), f64::from(SIZE.1));
    let (width, height) = (columns * WIDTH + 2.0 * MARGIN, rows * HEIGHT + 2.0 * MARGIN);
    let background = Rectangle::new().set("width", width).set("height", height).set("rx", 8);
    let mut picture = Group::new()
        .set("transform", format!("translate({MARGIN} {MARGIN})"))
        .set("font-family", "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace")
        .set("font-size", 14)
        .set("shape-rendering", "crispEdges") // no seams
        .set("stroke-width", 1);
    for row in 0..SIZE.1 {
        let cells: Vec<&Cell> = (0..SIZE.0).filter_map(|column| screen.cell(row, column)).collect();
        let mut column = 0;
        while column < cells.len() {
            let first = cells[column];
            let is_drawn = !is_letter(first);
            let same = |cell: &&&Cell| {
                let is_alike = !is_drawn || cell.contents() == first.contents();
                style(cell) == style(first) && is_letter(cell) != is_drawn && is_alike
            };
            let run = &cells[column..column + cells[column..].iter().take_while(same).count()];
            let place = (column as f64 * WIDTH, f64::from(row) * HEIGHT);
            picture =
                if is_drawn { symbols(picture, run, place) } else { letters(picture, run, place) };
            column += run.len();
        }
    }
    Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("width", width)
        .set("height", height)
        .set("role", "img")
        .set("aria-label", "lbctl watch, as it shows a running system on a terminal")
        .add(background.set("fill", BACKGROUND))
        .add(picture)
}

/// Whether it is a matter of the font. What makes up boxes and bars is drawn, so that it fits without gaps.
fn is_letter(cell: &Cell) -> bool {
    !matches!(cell.contents().chars().next(), None | Some(' ' | '─'..='▟'))
}

fn style(cell: &Cell) -> (Color, bool, bool) {
    (cell.fgcolor(), cell.bold(), cell.dim())
}

fn colour(cell: &Cell) -> &'static str {
    match cell.fgcolor() {
        Color::Idx(1) => "#f0716a",
        Color::Idx(2) => "#8ccf7e",
        Color::Idx(3) => "#e5c76b",
        Color::Idx(6) => "#6cbfc8",
        _ => FOREGROUND,
    }
}

fn letters(picture: Group, run: &[&Cell], (x, y): (f64, f64)) -> Group {
    let text: String = run.iter().map(|cell| cell.contents()).collect();
    let text = Text::new(text)
        .set("x", rounded(x))
        .set("y", rounded(y + HEIGHT * 0.75))
        .set("textLength", rounded(run.len() as f64 * WIDTH))
        .set("fill", colour(run[0]));
    picture.add(if run[0].bold() { text.set("font-weight", "bold") } else { text })
}

/// Parts of a box, or of a bar: all the same.
fn symbols(picture: Group, run: &[&Cell], (x, y): (f64, f64)) -> Group {
    let width = run.len() as f64 * WIDTH;
    let middle = (x + WIDTH / 2.0, y + HEIGHT / 2.0);
    let [left, right] = [(x, middle.1), (x + width, middle.1)];
    let [up, down] = [(middle.0, y), (middle.0, y + HEIGHT)];
    let line = |from: (f64, f64), to: (f64, f64)| {
        Line::new()
            .set("x1", rounded(from.0))
            .set("y1", rounded(from.1))
            .set("x2", rounded(to.0))
            .set("y2", rounded(to.1))
            .set("stroke", "#7d8592")
    };
    let filled = |share: f64, opacity: f64| {
        Rectangle::new()
            .set("x", rounded(x))
            .set("y", rounded(y + HEIGHT * (1.0 - share)))
            .set("width", rounded(width))
            .set("height", rounded(HEIGHT * share))
            .set("fill", colour(run[0]))
            .set("opacity", opacity)
    };
    let share = |symbol: char| f64::from(u32::from(symbol) - u32::from('▁') + 1) / 8.0;
    match run[0].contents().chars().next() {
        Some('─') => picture.add(line(left, right)),
        Some('│') => picture.add(line(up, down)),
        Some('┌') => picture.add(line(middle, right)).add(line(middle, down)),
        Some('┐') => picture.add(line(left, middle)).add(line(middle, down)),
        Some('└') => picture.add(line(middle, right)).add(line(up, middle)),
        Some('┘') => picture.add(line(left, middle)).add(line(up, middle)),
        Some('░') => picture.add(filled(1.0, 0.2)),
        Some(block @ '▁'..='█') => picture.add(filled(share(block), 1.0)),
        _ => picture,
    }
}

/// Hundredths of a pixel are enough.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
