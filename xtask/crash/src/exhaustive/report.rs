//! What was tried, what it hit, and what broke.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::play::{Played, Violation};
use super::point::Point;
use super::role::Role;
use super::scenario::SCENARIOS;
use super::steps::Steps;

/// The numbers of one role in one scenario.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    /// System calls in an undisturbed run.
    calls: u32,
    /// Points tried.
    points: u32,
    /// Points at which it was killed; at the others it had ended before, or wrote nothing.
    reached: u32,
    /// Kills that left a transaction pending.
    pending: u32,
    /// Load balancers that were replaced while a worker stood still (counted as reached, too).
    outlived: u32,
    /// Writes to the log cut short.
    torn: u32,
    /// Second kills tried, during the recovery from a kill of this role.
    doubles: u32,
    /// … that were reached.
    doubles_reached: u32,
    /// … that left a transaction pending once more.
    doubles_pending: u32,
    violations: u32,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.points += other.points;
        self.reached += other.reached;
        self.pending += other.pending;
        self.outlived += other.outlived;
        self.torn += other.torn;
        self.doubles += other.doubles;
        self.doubles_reached += other.doubles_reached;
        self.doubles_pending += other.doubles_pending;
        self.violations += other.violations;
    }
}

#[derive(Debug, Serialize)]
struct Broken {
    point: String,
    what: String,
    kept: Option<String>,
}

/// The result of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Report {
    tallies: BTreeMap<(String, Role), Tally>,
    broken: Vec<Broken>,
}

impl Report {
    fn tally(&mut self, scenario: &str, role: Role) -> &mut Tally {
        self.tallies.entry((scenario.to_owned(), role)).or_default()
    }

    /// A run failed although nobody was killed at a chosen point.
    pub(crate) fn failed(&mut self, scenario: &str, what: String) {
        self.broken.push(Broken { point: scenario.to_owned(), what, kept: None });
    }

    pub(crate) fn counted(&mut self, scenario: &str, role: Role, steps: &Steps) {
        self.tally(scenario, role).calls = steps.calls;
    }

    /// Returns whether it left a transaction pending, and recovered.
    pub(crate) fn single(
        &mut self,
        point: &Point,
        role: Role,
        played: Result<&Played, &Violation>,
    ) -> bool {
        let tally = self.tally(&point.scenario, role);
        tally.points += 1;
        match played {
            Err(violation) => {
                tally.violations += 1;
                self.broke(point, violation);
                false
            }
            Ok(played) => {
                let struck = played.steps.first().and_then(|steps| steps.struck);
                let outlived = played.steps.first().is_some_and(|steps| steps.outlived);
                tally.reached += u32::from(struck.is_some() || outlived);
                tally.outlived += u32::from(outlived);
                tally.pending += u32::from(struck.is_some_and(|struck| struck.pending));
                tally.torn += u32::from(struck.is_some_and(|struck| struck.torn));
                struck.is_some_and(|struck| struck.pending)
            }
        }
    }

    pub(crate) fn double(
        &mut self,
        point: &Point,
        role: Role,
        played: Result<&Played, &Violation>,
    ) {
        let tally = self.tally(&point.scenario, role);
        tally.doubles += 1;
        match played {
            Err(violation) => {
                tally.violations += 1;
                self.broke(point, violation);
            }
            Ok(played) => {
                let struck = played.steps.get(1).and_then(|steps| steps.struck);
                tally.doubles_reached += u32::from(struck.is_some());
                tally.doubles_pending += u32::from(struck.is_some_and(|struck| struck.pending));
            }
        }
    }

    fn broke(&mut self, point: &Point, violation: &Violation) {
        self.broken.push(Broken {
            point: point.to_string(),
            what: violation.what.clone(),
            kept: Some(violation.kept.display().to_string()),
        });
    }

    fn totals(&self) -> BTreeMap<&'static str, Tally> {
        let mut totals = BTreeMap::<_, Tally>::new();
        for ((_, role), tally) in &self.tallies {
            totals.entry(role.kind()).or_default().add(tally);
        }
        totals
    }

    /// What the run did not see, so that it proves less than it says.
    fn blind(&self) -> Vec<String> {
        let mut blind = Vec::new();
        for (kind, _) in self.totals().into_iter().filter(|(_, tally)| tally.reached == 0) {
            blind.push(format!("no {kind} was killed"));
        }
        // A COMMAND has no transaction.
        for (kind, tally) in self.totals().into_iter().filter(|total| total.0 != "handler") {
            for (what, hits) in [
                ("a pending transaction", tally.pending),
                ("a torn write", tally.torn),
                ("the recovery once more", tally.doubles_reached),
            ] {
                if hits == 0 {
                    blind.push(format!("no kill of a {kind} hit {what}"));
                }
            }
        }
        if self.tallies.is_empty() {
            blind.push("nothing was tried".to_owned());
        }
        blind
    }

    pub(crate) fn passed_so_far(&self) -> bool {
        self.broken.is_empty()
    }

    pub(crate) fn passed(&self) -> bool {
        self.broken.is_empty() && self.blind().is_empty()
    }

    pub(crate) fn first_violation(&self) -> Option<String> {
        self.broken.first().map(|broken| format!("{}: {}", broken.point, broken.what))
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows: Vec<_> = self
            .tallies
            .iter()
            .map(|((scenario, role), tally)| {
                serde_json::json!({ "scenario": scenario, "role": role.to_string(), "tally": tally })
            })
            .collect();
        serde_json::json!({
            "version": 1,
            "passed": self.passed(),
            "rows": rows,
            "totals": self.totals(),
            "violations": self.broken,
            "blind": self.blind(),
        })
        .serialize(serializer)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<9}{:<10}{:>7}{:>8}{:>9}{:>9}{:>6}{:>9}{:>9}{:>9}{:>7}",
            "scenario",
            "killed",
            "calls",
            "points",
            "reached",
            "pending",
            "torn",
            "doubles",
            "reached",
            "pending",
            "broken"
        )?;
        let mut row = |scenario: &str, role: &str, t: &Tally| {
            writeln!(
                f,
                "{scenario:<9}{role:<10}{:>7}{:>8}{:>9}{:>9}{:>6}{:>9}{:>9}{:>9}{:>7}",
                t.calls,
                t.points,
                t.reached,
                t.pending,
                t.torn,
                t.doubles,
                t.doubles_reached,
                t.doubles_pending,
                t.violations
            )
        };
        for ((scenario, role), tally) in &self.tallies {
            row(scenario, &role.to_string(), tally)?;
        }
        for (kind, tally) in self.totals() {
            row("all", kind, &tally)?;
        }
        for scenario in SCENARIOS {
            writeln!(f, "{:<9}{}", scenario.name, scenario.about)?;
        }
        for broken in &self.broken {
            writeln!(f, "VIOLATION {}: {}", broken.point, broken.what)?;
            if let Some(kept) = &broken.kept {
                writeln!(f, "  again: cargo xtask crash --replay {}\n  see {kept}", broken.point)?;
            }
        }
        for blind in self.blind() {
            writeln!(f, "BLIND: {blind}")?;
        }
        writeln!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}
