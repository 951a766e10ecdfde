//! The report of a run: for people, for a program, and for a job summary.

use std::fmt::Write as _;
use std::path::PathBuf;

use lbctl::terminal::{DIM, Shares, counted, grouped, mark, shortened};
use serde::Serialize;

use super::findings::Findings;
use super::scene::{Order, RunPlan};

/// The version of what `--json` prints.
const FORMAT_VERSION: u32 = 1;

/// All runs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: u32,
    pub(super) passed: bool,
    /// Messages of all runs that ended in `sistem.dead`.
    pub(super) dead: u64,
    workers: u32,
    inputs: Vec<String>,
    clients: usize,
    order: Order,
    hand_started: bool,
    /// What the workers did with each message; empty without COMMAND.
    command: Vec<String>,
    pub(super) runs: Vec<Run>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    /// Which, from 1.
    #[serde(rename = "run")]
    pub(super) number: u32,
    /// From the start of the first program to the end of the last.
    pub(super) seconds: f64,
    /// What the checks took.
    pub(super) check_seconds: f64,
    /// The directory, if it is kept.
    pub(super) directory: Option<PathBuf>,
    #[serde(flatten)]
    pub(super) findings: Findings,
}

impl Report {
    pub(super) fn new(plan: &RunPlan<'_>) -> Self {
        Self {
            version: FORMAT_VERSION,
            passed: true,
            dead: 0,
            workers: plan.workers.get(),
            inputs: plan.inputs.iter().map(ToString::to_string).collect(),
            clients: plan.clients,
            order: plan.order,
            hand_started: plan.hand_started,
            command: plan.work.command.iter().map(|word| word.display().to_string()).collect(),
            runs: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, run: Run) {
        self.passed &= run.findings.passed;
        self.dead += run.findings.dead;
        self.runs.push(run);
    }

    /// `Halo A;10 to 3 workers started by hand with `/bin/true`, from 2 clients, load balancer first`.
    pub(super) fn title(&self) -> String {
        let shown: Vec<String> = self.inputs.iter().take(3).map(|input| shortened(input)).collect();
        let mut title = shown.join(", ");
        if self.inputs.len() > shown.len() {
            let _ = write!(title, ", … ({} in all)", self.inputs.len());
        }
        let _ = write!(title, " to {}", counted(self.workers.into(), "worker"));
        if self.hand_started {
            title.push_str(" started by hand");
        }
        if !self.command.is_empty() {
            let _ = write!(title, " with `{}`", shortened(&self.command.join(" ")));
        }
        let _ = write!(title, ", from {}, ", counted(self.clients as u64, "client"));
        title.push_str(match self.order {
            Order::ClientFirst => "client first",
            Order::LbFirst => "load balancer first",
        });
        title
    }

    /// A table for GitHub's job summary.
    pub(super) fn markdown(&self) -> String {
        let code = |text: &str| format!("<code>{}</code>", escape(text));
        let verdict = if self.passed { "✅" } else { "❌" };
        let mut out = format!("### {verdict} e2e: {}\n\n", code(&self.title()));
        let _ = writeln!(out, "| run | check | | seen |\n|--:|---|---|---|");
        for run in &self.runs {
            for check in &run.findings.checks {
                let mark = if check.passed { "✓" } else { "✗" };
                let detail = escape(&check.detail);
                let _ = writeln!(out, "| {} | {} | {mark} | {detail} |", run.number, check.name);
            }
        }
        if let Some(run) = self.runs.last() {
            let _ = writeln!(out, "\n```\n{}{}\n```\n", Shares(&run.findings.shares), run.sum());
        }
        out
    }
}

impl Run {
    /// For people.
    pub(super) fn text(&self, runs: u32) -> String {
        let mut out = String::new();
        if runs > 1 {
            let _ = writeln!(out, "  run {} of {runs}", self.number);
        }
        for check in &self.findings.checks {
            let _ = writeln!(out, "  {} {:<14}{}", mark(check.passed), check.name, check.detail);
        }
        let _ = write!(out, "{}", Shares(&self.findings.shares));
        let _ = writeln!(out, "  {} {}", mark(self.findings.passed), self.sum());
        if let Some(directory) = &self.directory {
            let _ = writeln!(out, "  {DIM}kept:{DIM:#} {}", directory.display());
        }
        out
    }

    /// One line.
    pub(super) fn short_text(&self, runs: u32) -> String {
        let kept = self.directory.as_ref().map(|d| format!(", kept: {}", d.display()));
        let (mark, kept) = (mark(self.findings.passed), kept.unwrap_or_default());
        format!("  {mark} run {} of {runs}: {}{kept}\n", self.number, self.sum())
    }

    fn sum(&self) -> String {
        let failed = self.findings.checks.iter().filter(|check| !check.passed).count() as u64;
        let verdict = if failed == 0 {
            format!("{} passed", counted(self.findings.checks.len() as u64, "check"))
        } else {
            format!("{} failed", counted(failed, "check"))
        };
        let dead = match self.findings.dead {
            0 => String::new(),
            dead => format!(" ({dead} dead)"),
        };
        format!(
            "{verdict}: {}{dead}, {}, {} bytes; ran {:.2} s, checked in {:.2} s",
            counted(self.findings.messages, "message"),
            counted(self.findings.lines, "line"),
            grouped(self.findings.bytes),
            self.seconds,
            self.check_seconds
        )
    }
}

/// Nothing in it is markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('|', "&#124;").replace('`', "&#96;")
}
