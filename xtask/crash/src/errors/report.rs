//! What was tried, what came of it, and what broke.

use std::collections::BTreeMap;

use serde_json::json;

use super::table::name_of;
use crate::counts::{Counts, Outcome, table};
use crate::exhaustive::made::Made;
use crate::exhaustive::play::Played;
use crate::exhaustive::point::{At, Moment, Point};
use crate::exhaustive::role::Role;
use crate::exhaustive::steps::Steps;
use crate::findings::{Finding, Findings};
use crate::violation::Violation;

/// The result of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Report {
    by_role: BTreeMap<String, Counts<Outcome>>,
    by_error: BTreeMap<String, Counts<Outcome>>,
    by_call: BTreeMap<String, Counts<Outcome>>,
    pub(crate) findings: Findings,
    /// Calls that the table does not have, and whose.
    unknown: BTreeMap<(i64, &'static str), u32>,
}

impl Report {
    /// The calls of a role were counted.
    pub(crate) fn counted(&mut self, role: Role, made: &[Made]) {
        if made.is_empty() {
            self.findings.blind(format!("where main begins was not seen: {role}"));
        }
        for made in made.iter().filter(|made| made.row.is_none()) {
            *self.unknown.entry((made.number, role.kind())).or_default() += 1;
        }
    }

    /// A point was tried.
    pub(crate) fn tried(&mut self, point: &Point, played: Result<Played, Violation>) {
        let strike = point.strikes[0];
        let (At::Nth { number, .. }, Moment::Fails(error)) = (strike.at, strike.moment) else {
            return;
        };
        let role = strike.role.kind();
        let call = name_of(number).unwrap_or_default();
        let outcome = outcome(&played);
        self.by_role.entry(role.to_owned()).or_default().tried(outcome);
        self.by_error.entry(format!("{error:?}")).or_default().tried(outcome);
        self.by_call.entry(call.to_owned()).or_default().tried(outcome);
        if let Err(violation) = played {
            let kind = format!("{role} {call}");
            self.findings.add(Finding { kind, ..point.finding(violation) });
        }
    }

    fn find_blind(&mut self) {
        for ((number, program), times) in &self.unknown {
            self.findings.blind(format!(
                "the table of calls has no number {number}, made {times} times by a {program}"
            ));
        }
        for (role, counts) in &self.by_role {
            if counts.of(Outcome::Unfelt) + counts.of(Outcome::CameAgain) == 0 {
                self.findings.blind(format!("no failing call of a {role} was survived"));
            }
        }
        if self.by_role.is_empty() {
            self.findings.blind("nothing was tried");
        }
    }

    /// Prints it. Returns whether no contract was broken.
    pub(crate) fn conclude(mut self, as_json: bool) -> Result<bool, String> {
        self.find_blind();
        let Self { by_role, by_error, by_call, findings, .. } = self;
        let tables = [("role", &by_role), ("error", &by_error), ("call", &by_call)];
        let tables = tables.map(|(title, rows)| table(title, rows));
        let json = json!({ "by_role": by_role, "by_error": by_error, "by_call": by_call });
        findings.conclude(&tables.concat(), as_json.then_some(json))
    }
}

fn outcome(played: &Result<Played, Violation>) -> Outcome {
    match played {
        Err(_) => Outcome::Broken,
        Ok(played) if !played.steps.iter().any(|steps| steps.failed) => Outcome::Missed,
        Ok(played) if played.failed.is_empty() && !played.steps.iter().any(Steps::has_failed) => {
            Outcome::Unfelt
        }
        Ok(_) => Outcome::CameAgain,
    }
}
