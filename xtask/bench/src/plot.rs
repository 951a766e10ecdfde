//! The throughput of everyone as a picture: a row for each case, a mark for each contestant, on a
//! logarithmic scale, readable on light and dark ground.

use svg::Document;
use svg::node::element::{Group, Line, Path, Rectangle, Style, Text, Title};

use super::contest::CaseResult;
use super::contestant::Contestant;
use super::spread::Spread;

const WIDTH: f64 = 880.0;
/// Where the scale begins and ends.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 850.0;
const TOP: f64 = 100.0;
const ROW: f64 = 34.0;
/// Half of a mark's width.
const MARK: f64 = 5.5;

/// The viewer's preference decides; without one it is light.
const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 12px; fill: #59636e }
.value { font-size: 12px; font-weight: 600; fill: #0550ae }
.paper { fill: #ffffff }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.whisker { stroke-width: 2 }
.limit { fill: #59636e; stroke: #59636e }
.ours { fill: #0969da; stroke: #0969da }
.raw-queue { fill: #9a6700; stroke: #9a6700 }
.line-at-a-time { fill: #cf222e; stroke: #cf222e }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .value { fill: #79c0ff }
  .paper { fill: #0d1117 }
  .grid { stroke: #30363d }
  .limit { fill: #9198a1; stroke: #9198a1 }
  .ours { fill: #4493f8; stroke: #4493f8 }
  .raw-queue { fill: #d29922; stroke: #d29922 }
  .line-at-a-time { fill: #ff7b72; stroke: #ff7b72 }
}
";

/// An SVG file.
pub(super) fn draw(results: &[CaseResult]) -> String {
    let scale = Scale::over(results);
    let mut rows = Group::new();
    let mut y = TOP;
    for result in results {
        y += ROW;
        rows = rows.add(row(result, y, &scale));
    }
    let bottom = y + ROW / 2.0;
    let height = bottom + 48.0;
    Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .add(Title::new("Messages per second: limit, ours, raw queue, line at a time"))
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("class", "paper").set("width", "100%").set("height", "100%"))
        .add(text("Messages per second", 20.0, 32.0).set("class", "title"))
        .add(legend())
        .add(scale.grid(bottom))
        .add(rows)
        .add(
            text("median and range, logarithmic scale", RIGHT, height - 10.0)
                .set("class", "small")
                .set("text-anchor", "end"),
        )
        .to_string()
        + "\n"
}

/// From messages per second to a place, over whole powers of ten.
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn over(results: &[CaseResult]) -> Self {
        let rates = results.iter().flat_map(|result| &result.scores);
        let rates = rates.map(|score| score.messages_per_second);
        let (min, max) =
            rates.fold((f64::MAX, 1.0), |(min, max), rate| (rate.min.min(min), rate.max.max(max)));
        let powers = |least: f64| (0..=12).rfind(|&power| 10f64.powi(power) <= least).unwrap_or(0);
        Self { first: powers(min), last: powers(max) + 1 }
    }

    fn x(&self, rate: f64) -> f64 {
        let (first, last) = (f64::from(self.first), f64::from(self.last));
        LEFT + (RIGHT - LEFT) * (rate.max(1.0).log10() - first) / (last - first)
    }

    fn grid(&self, bottom: f64) -> Group {
        let lines = (self.first..=self.last).map(|power| {
            let rate = 10f64.powi(power);
            let x = self.x(rate);
            let label = text(&short(rate), x, bottom + 18.0);
            Group::new()
                .add(line(x, TOP, x, bottom).set("class", "grid"))
                .add(label.set("class", "small").set("text-anchor", "middle"))
        });
        lines.fold(Group::new(), Group::add)
    }
}

fn legend() -> Group {
    let mut x = 20.0;
    let mut legend = Group::new();
    for contestant in Contestant::AT_MANY {
        let label = match contestant {
            Contestant::Limit => "limit: the same bytes, one process",
            Contestant::Ours => "ours",
            Contestant::RawQueue => "raw queue, no log",
            Contestant::LineAtATime => "line at a time (the original)",
            other => other.name(),
        };
        legend = legend.add(mark(contestant, x + MARK, 64.0)).add(text(label, x + 18.0, 68.5));
        let letters = u32::try_from(label.len()).unwrap_or(0);
        x += 52.0 + f64::from(letters) * 6.6;
    }
    legend
}

fn row(result: &CaseResult, y: f64, scale: &Scale) -> Group {
    let mut row = Group::new()
        .add(text(&result.case.to_string(), LEFT - 14.0, y + 4.5).set("text-anchor", "end"))
        .add(line(LEFT, y, RIGHT, y).set("class", "grid"));
    for score in &result.scores {
        let Spread { median, min, max, .. } = score.messages_per_second;
        let whisker = line(scale.x(min), y, scale.x(max), y);
        row = row
            .add(whisker.set("class", format!("whisker {}", class(score.contestant))))
            .add(mark(score.contestant, scale.x(median), y));
        if score.contestant == Contestant::Ours {
            let value = text(&short(median), scale.x(median), y - 9.0);
            row = row.add(value.set("class", "value").set("text-anchor", "middle"));
        }
    }
    row
}

/// Told apart by colour and by form.
fn mark(contestant: Contestant, x: f64, y: f64) -> Path {
    let r = MARK;
    let form = match contestant {
        Contestant::Limit => format!("M{} {}h3v{}h-3z", x - 1.5, y - r - 1.5, 2.0 * r + 3.0),
        Contestant::Ours => {
            format!("M{} {y}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z", x - r, d = 2.0 * r)
        }
        Contestant::RawQueue => format!("M{x} {}l{r} {r}l-{r} {r}l-{r} -{r}z", y - r),
        _ => format!("M{} {}h{d}v{d}h-{d}z", x - 4.0, y - 4.0, d = 8),
    };
    Path::new().set("d", form).set("class", class(contestant)).set("stroke-width", 0)
}

fn class(contestant: Contestant) -> String {
    contestant.name().replace(' ', "-")
}

/// `12.3 M` and the like.
fn short(rate: f64) -> String {
    let units = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (by, unit) = units.into_iter().find(|(by, _)| rate >= *by).unwrap_or((1.0, ""));
    let value = rate / by;
    let digits = usize::from(value < 10.0 && value.fract() > 0.05);
    format!("{value:.digits$}{unit}")
}

fn text(content: &str, x: f64, y: f64) -> Text {
    Text::new(content).set("x", x).set("y", y)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2)
}
