//! What was tried, what it hit, and what broke.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::play::Played;
use super::point::Point;
use super::role::Role;
use super::scenario::SCENARIOS;
use crate::counts::{Counts, table};
use crate::findings::Findings;
use crate::violation::Violation;

/// What is counted of a role in a scenario.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display, strum::EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
enum Count {
    /// System calls in an undisturbed run.
    Calls,
    /// Points tried.
    Points,
    /// Points at which it was killed; at the others it had ended before, or wrote nothing.
    Reached,
    /// Kills that left a transaction pending.
    Pending,
    /// Load balancers that were replaced while a worker stood still (counted as reached, too).
    Outlived,
    /// Writes to the log cut short.
    Torn,
    /// Second kills tried, during the recovery from a kill of this role.
    Doubles,
    /// … that were reached.
    #[strum(to_string = "… reached")]
    DoublesReached,
    /// … that left a transaction pending once more.
    #[strum(to_string = "… pending")]
    DoublesPending,
    #[strum(to_string = "broken")]
    Violations,
}

/// The result of a campaign.
#[derive(Debug)]
pub(crate) struct Report {
    counts: BTreeMap<(&'static str, Role), Counts<Count>>,
    pub(crate) findings: Findings,
}

impl Report {
    pub(crate) fn new(findings: Findings) -> Self {
        Self { counts: BTreeMap::new(), findings }
    }

    fn of(&mut self, point: &Point) -> &mut Counts<Count> {
        self.counts.entry((point.scenario.name, point.strikes[0].role)).or_default()
    }

    /// The calls of a role were counted.
    pub(crate) fn counted(&mut self, scenario: &'static str, role: Role, calls: u32) {
        self.counts.entry((scenario, role)).or_default().add(Count::Calls, calls);
    }

    /// A point with one strike was played. Returns whether it left a transaction pending, and recovered.
    pub(crate) fn single(&mut self, point: &Point, played: Result<Played, Violation>) -> bool {
        let counts = self.of(point);
        counts.add(Count::Points, true);
        let Some(played) = self.right(point, played) else { return false };
        let counts = self.of(point);
        let struck = played.steps.first().and_then(|steps| steps.struck);
        let outlived = played.steps.first().is_some_and(|steps| steps.outlived);
        let pending = struck.is_some_and(|struck| struck.pending);
        counts.add(Count::Reached, struck.is_some() || outlived);
        counts.add(Count::Outlived, outlived);
        counts.add(Count::Pending, pending);
        counts.add(Count::Torn, struck.is_some_and(|struck| struck.torn));
        pending
    }

    /// One with two was played.
    pub(crate) fn double(&mut self, point: &Point, played: Result<Played, Violation>) {
        self.of(point).add(Count::Doubles, true);
        let Some(played) = self.right(point, played) else { return };
        let counts = self.of(point);
        let struck = played.steps.get(1).and_then(|steps| steps.struck);
        counts.add(Count::DoublesReached, struck.is_some());
        counts.add(Count::DoublesPending, struck.is_some_and(|struck| struck.pending));
    }

    fn right(&mut self, point: &Point, played: Result<Played, Violation>) -> Option<Played> {
        let broken = |violation| {
            self.of(point).add(Count::Violations, true);
            self.findings.add(point.finding(violation));
        };
        played.map_err(broken).ok()
    }

    fn totals(&self) -> BTreeMap<&'static str, Counts<Count>> {
        let mut totals = BTreeMap::<_, Counts<Count>>::new();
        for ((_, role), counts) in &self.counts {
            totals.entry(role.kind()).or_default().add_all(counts);
        }
        totals
    }

    fn find_blind(&mut self) {
        let totals = self.totals();
        for (kind, counts) in &totals {
            // These have no transaction.
            let has_any = *kind != "handler" && *kind != "rotator";
            for (count, hit, must_be) in [
                (Count::Reached, "was reached", true),
                (Count::Pending, "hit a pending transaction", has_any),
                (Count::Torn, "hit a torn write", has_any),
                (Count::DoublesReached, "hit the recovery once more", has_any),
            ] {
                if must_be && counts.of(count) == 0 {
                    self.findings.blind(format!("no kill of a {kind} {hit}"));
                }
            }
        }
        if totals.is_empty() {
            self.findings.blind("nothing was tried");
        }
    }

    /// Prints it. Returns whether no contract was broken.
    pub(crate) fn conclude(mut self, as_json: bool) -> Result<bool, String> {
        self.find_blind();
        let totals = self.totals();
        let row = |((scenario, role), counts): (&(&str, Role), _)| json!({ "scenario": scenario, "role": role.to_string(), "tally": counts });
        let json = as_json.then(
            || json!({ "rows": self.counts.iter().map(row).collect::<Vec<_>>(), "totals": totals }),
        );
        let rows = self.counts.iter();
        let rows = rows.map(|((scenario, role), counts)| (format!("{scenario} {role}"), counts));
        let all = totals.iter().map(|(kind, counts)| (format!("all {kind}"), counts));
        let mut text = table("killed", rows.chain(all));
        for scenario in SCENARIOS {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<9}{}", scenario.name, scenario.about);
        }
        self.findings.conclude(&text, json)
    }
}
