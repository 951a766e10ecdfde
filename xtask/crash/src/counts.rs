//! How often what happened, and tables of that.

use std::collections::BTreeMap;
use std::fmt::Display;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Serialize, Serializer};
use strum::IntoEnumIterator;

/// How often each of several things has happened.
#[derive(Clone, Debug)]
pub(crate) struct Counts<T>(BTreeMap<T, u64>);

/// What may become of a process to which something is done.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display, strum::EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Outcome {
    Tried,
    /// Nothing was done: it had ended before, made the call in another way, or there was no ledger.
    Missed,
    /// The programs did without, or tried again: everyone ended well.
    Unfelt,
    /// Somebody ended with an error, and whoever heeded it, a person or the load balancer, came to the right end.
    #[strum(to_string = "came again")]
    CameAgain,
    Broken,
}

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy + Ord> Counts<T> {
    pub(crate) fn add(&mut self, what: T, times: impl Into<u64>) {
        *self.0.entry(what).or_default() += times.into();
    }

    pub(crate) fn add_all(&mut self, others: &Self) {
        others.0.iter().for_each(|(&what, &times)| self.add(what, times));
    }

    pub(crate) fn of(&self, what: T) -> u64 {
        self.0.get(&what).copied().unwrap_or(0)
    }
}

impl Counts<Outcome> {
    /// Counts one more that was tried.
    pub(crate) fn tried(&mut self, outcome: Outcome) {
        self.add(Outcome::Tried, true);
        self.add(outcome, true);
    }
}

/// With what has not happened.
impl<T: Copy + Ord + IntoEnumIterator + Serialize> Serialize for Counts<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(T::iter().map(|what| (what, self.of(what))))
    }
}

/// A table with a row for each name.
pub(crate) fn table<'a, T: Copy + Ord + IntoEnumIterator + Display + 'a>(
    title: &str,
    rows: impl IntoIterator<Item = (impl Display, &'a Counts<T>)>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([title.to_owned()].into_iter().chain(T::iter().map(|what| what.to_string())));
    for (name, counts) in rows {
        let counts = T::iter().map(|what| counts.of(what).to_string());
        table.add_row([name.to_string()].into_iter().chain(counts));
    }
    let columns = table.column_iter_mut().skip(1);
    columns.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_happened_is_counted_too() {
        let mut counts = Counts::default();
        counts.tried(Outcome::Unfelt);
        let json = r#"{"broken":0,"came_again":0,"missed":0,"tried":1,"unfelt":1}"#;
        assert_eq!(serde_json::json!(counts).to_string(), json);
        let table = table("role", [("worker", &counts)]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<_> = table.lines().map(words).collect();
        assert_eq!(lines[0], ["role", "tried", "missed", "unfelt", "came", "again", "broken"]);
        assert_eq!(lines[1], ["worker", "1", "0", "1", "0", "0"]);
    }
}
