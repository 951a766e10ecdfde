//! What was seen, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use lbctl::terminal::{self, counted, grouped, mark};
use serde::Serialize;

use crate::checks::Check;
use crate::failure::Failure;
use crate::plan::Kind;

/// The version of what `--json` prints.
const VERSION: u32 = 1;

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) passed: bool,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    /// Where the hosts were: in namespaces, or on loopback ports.
    pub(crate) namespaces: bool,
    /// Kinds that need namespaces, where there are none.
    pub(crate) left_out: Vec<Kind>,
    pub(crate) faults: BTreeMap<Kind, Times>,
    /// What has ended by itself and was started again, and how often.
    pub(crate) ended: BTreeMap<String, u64>,
    pub(crate) accepted: u64,
    pub(crate) checks: Vec<Check>,
    /// What went wrong during the rounds.
    pub(crate) violation: Option<String>,
}

/// From the fault until a submission is accepted that was given after it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Times {
    pub(crate) rounds: u64,
    pub(crate) median_ms: u64,
    pub(crate) max_ms: u64,
    #[serde(skip)]
    all: Vec<u64>,
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.all.insert(self.all.partition_point(|&it| it < time), time);
        self.rounds += 1;
        self.median_ms = self.all[self.all.len() / 2];
        self.max_ms = self.all.last().copied().unwrap_or(0);
    }
}

impl Report {
    pub(crate) fn new(seed: u64, namespaces: bool, left_out: Vec<Kind>) -> Self {
        Self {
            version: VERSION,
            passed: false,
            seed,
            rounds: 0,
            namespaces,
            left_out,
            faults: BTreeMap::new(),
            ended: BTreeMap::new(),
            accepted: 0,
            checks: Vec::new(),
            violation: None,
        }
    }

    /// Prints it.
    pub(crate) fn print(&self, as_json: bool) -> Result<(), Failure> {
        let printed =
            if as_json { terminal::print_json(self) } else { terminal::print(&self.to_text()) };
        printed.map_err(Failure::Report)
    }

    fn to_text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["fault", "rounds", "ms until accepted: median", "max"]);
        for (kind, times) in &self.faults {
            let numbers = [times.rounds, times.median_ms, times.max_ms].map(grouped);
            table.add_row([kind.to_string()].into_iter().chain(numbers));
        }
        let columns = table.column_iter_mut().skip(1);
        columns.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let mut text = format!("{table}\n");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} of seed {}, {} accepted",
            counted(self.rounds, "round"),
            self.seed,
            counted(self.accepted, "submission")
        );
        if !self.left_out.is_empty() {
            let kinds: Vec<_> = self.left_out.iter().map(Kind::to_string).collect();
            let _ = writeln!(text, "left out, as there are no namespaces: {}", kinds.join(", "));
        }
        for (what, times) in &self.ended {
            let _ = writeln!(
                text,
                "ended by itself and started again: {what} ({})",
                counted(*times, "time")
            );
        }
        for Check { name, passed, detail } in &self.checks {
            let _ = writeln!(text, "{} {name}: {detail}", mark(*passed));
        }
        if let Some(violation) = &self.violation {
            let _ = writeln!(text, "VIOLATION {violation}");
        }
        text + if self.passed { "passed\n" } else { "FAILED\n" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_maximum_are_of_all_times() {
        let mut times = Times::default();
        for ms in [30, 10, 20] {
            times.add(Duration::from_millis(ms));
        }
        assert_eq!((times.rounds, times.median_ms, times.max_ms), (3, 20, 30));
    }
}
