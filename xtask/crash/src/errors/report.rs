//! What was tried, what came of it, and what broke.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::table;
use crate::exhaustive::made::Made;
use crate::exhaustive::play::{Played, Violation};
use crate::exhaustive::point::{At, Moment, Point};
use crate::exhaustive::role::Role;
use crate::exhaustive::steps::Steps;

/// What came of some points.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    tried: u32,
    /// The process ended before, or made the call in another way.
    missed: u32,
    /// The programs did without, or tried again: everyone ended well.
    unfelt: u32,
    /// Somebody ended with an error, and the same command, given again by a person or by the load
    /// balancer, came to the right end.
    came_again: u32,
    broken: u32,
}

#[derive(Debug, Default, Serialize)]
struct Broken {
    point: String,
    /// The program whose call failed, and which call that was.
    call: String,
    error: String,
    what: String,
    kept: String,
}

/// The result of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Report {
    by_role: BTreeMap<String, Tally>,
    by_error: BTreeMap<String, Tally>,
    by_call: BTreeMap<String, Tally>,
    broken: Vec<Broken>,
    /// Calls that the table does not have, and whose.
    unknown: BTreeMap<(i64, &'static str), u32>,
    /// Programs of which no call was seen after main.
    unseen: Vec<String>,
}

impl Report {
    /// A run failed although no call had.
    pub(crate) fn failed(&mut self, scenario: &str, what: String) {
        self.broken.push(Broken { point: scenario.to_owned(), what, ..Broken::default() });
    }

    /// The calls of a role were counted.
    pub(crate) fn counted(&mut self, role: Role, made: &[Made]) {
        if made.is_empty() {
            self.unseen.push(role.to_string());
        }
        for made in made.iter().filter(|made| made.row.is_none()) {
            *self.unknown.entry((made.number, role.kind())).or_default() += 1;
        }
    }

    /// A point was tried.
    pub(crate) fn tried(&mut self, point: &Point, played: Result<&Played, &Violation>) {
        for strike in &point.strikes {
            let (At::Nth { number, .. }, Moment::Fails(error)) = (strike.at, strike.moment) else {
                continue;
            };
            let (role, error) = (strike.role.kind(), format!("{error:?}"));
            let call = table::name_of(number).unwrap_or_default();
            self.by_role.entry(role.to_owned()).or_default().count(played);
            self.by_error.entry(error.clone()).or_default().count(played);
            self.by_call.entry(call.to_owned()).or_default().count(played);
            if let Err(violation) = played {
                self.broken.push(Broken {
                    point: point.to_string(),
                    call: format!("{role} {call}"),
                    error,
                    what: violation.what.clone(),
                    kept: violation.kept.display().to_string(),
                });
            }
        }
    }

    /// What the run did not see, so that it proves less than it says.
    fn blind(&self) -> Vec<String> {
        let mut blind = Vec::new();
        for ((number, program), times) in &self.unknown {
            blind.push(format!(
                "the table of calls has no number {number}, made {times} times by a {program}"
            ));
        }
        for role in &self.unseen {
            blind.push(format!("where main begins was not seen: {role}"));
        }
        for (role, tally) in &self.by_role {
            if tally.tried == tally.missed + tally.broken {
                blind.push(format!("no failing call of a {role} was survived"));
            }
        }
        if self.by_role.is_empty() {
            blind.push("nothing was tried".to_owned());
        }
        blind
    }

    pub(crate) fn passed(&self) -> bool {
        self.broken.is_empty() && self.blind().is_empty()
    }

    pub(crate) fn print(&self, json: bool) -> Result<(), String> {
        let text = if json { format!("{}\n", serde_json::json!(self)) } else { self.to_string() };
        crate::print(&text)
    }

    /// The findings by what went wrong and which call had failed; numbers in what went wrong, as of
    /// processes, make no difference.
    fn causes(&self) -> BTreeMap<(String, &str), Vec<&Broken>> {
        let mut causes: BTreeMap<_, Vec<&Broken>> = BTreeMap::new();
        for broken in &self.broken {
            let first = broken.what.lines().next().unwrap_or_default();
            let cause = first.chars().filter(|c| !c.is_ascii_digit()).collect();
            causes.entry((cause, broken.call.as_str())).or_default().push(broken);
        }
        causes
    }
}

impl Tally {
    fn count(&mut self, played: Result<&Played, &Violation>) {
        self.tried += 1;
        match played {
            Err(_) => self.broken += 1,
            Ok(played) if !played.steps.iter().any(|steps| steps.failed) => self.missed += 1,
            Ok(played)
                if played.failed.is_empty() && !played.steps.iter().any(Steps::has_failed) =>
            {
                self.unfelt += 1;
            }
            Ok(_) => self.came_again += 1,
        }
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({
            "version": 1,
            "passed": self.passed(),
            "by_role": self.by_role,
            "by_error": self.by_error,
            "by_call": self.by_call,
            "violations": self.broken,
            "blind": self.blind(),
        })
        .serialize(serializer)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, tallies) in
            [("role", &self.by_role), ("error", &self.by_error), ("call", &self.by_call)]
        {
            writeln!(
                f,
                "{title:<18}{:>8}{:>8}{:>8}{:>12}{:>8}",
                "points", "missed", "unfelt", "came again", "broken"
            )?;
            for (name, t) in tallies {
                writeln!(
                    f,
                    "{name:<18}{:>8}{:>8}{:>8}{:>12}{:>8}",
                    t.tried, t.missed, t.unfelt, t.came_again, t.broken
                )?;
            }
        }
        for ((cause, call), broken) in self.causes() {
            let errors: BTreeSet<&str> = broken.iter().map(|b| b.error.as_str()).collect();
            let errors = errors.into_iter().collect::<Vec<_>>().join(" ");
            writeln!(f, "VIOLATION, {} times, {call} {errors}: {cause}", broken.len())?;
            let Broken { point, kept, .. } = broken[0];
            writeln!(f, "  again: cargo xtask crash --replay {point}\n  see {kept}")?;
        }
        for blind in self.blind() {
            writeln!(f, "BLIND: {blind}")?;
        }
        writeln!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}
