//! What came of all rounds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::place::Region;
use super::plan::{FlipPlan, Scene};
use super::session::{Outcome, Played};

/// In so many rounds a region is met at least once.
const MANY: u32 = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rounds: u32,
    /// There was no ledger.
    missed: u32,
    right: u32,
    recovered: u32,
    broken: u32,
}

struct Finding {
    seed: u64,
    round: u64,
    about: String,
    what: String,
    kept: String,
}

/// The result of all rounds.
#[derive(Default)]
pub(super) struct Report {
    by_scene: BTreeMap<Scene, Tally>,
    by_region: BTreeMap<Region, Tally>,
    findings: Vec<Finding>,
    longest: Duration,
}

impl Report {
    pub(super) fn played(&mut self, plan: &FlipPlan, played: &Played) {
        let region = played.flipped.map_or(plan.place.region, |flipped| flipped.region);
        self.by_scene.entry(plan.scene).or_default().count(played);
        self.by_region.entry(region).or_default().count(played);
        let Err(broken) = &played.outcome else {
            self.longest = self.longest.max(played.took);
            return;
        };
        let flipped = played.flipped.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
        let finding = Finding {
            seed: plan.play.seed,
            round: plan.play.round,
            about: format!("{}, {flipped}", plan.scene),
            what: broken.what.clone(),
            kept: broken.kept.display().to_string(),
        };
        common::tell!("{finding}");
        self.findings.push(finding);
    }

    /// What the run did not see, so that it proves less than it says.
    fn blind(&self) -> Vec<String> {
        let flips = |tally: &Tally| tally.rounds - tally.missed;
        if self.by_region.values().map(flips).sum::<u32>() == 0 {
            return vec!["no bit was flipped".to_owned()];
        }
        let unseen = |(region, tally): (&Region, &Tally)| {
            let many = tally.rounds >= MANY;
            (many && flips(tally) == 0).then(|| format!("no bit was flipped: {region}"))
        };
        self.by_region.iter().filter_map(unseen).collect()
    }

    pub(super) fn passed(&self) -> bool {
        self.findings.is_empty() && self.blind().is_empty()
    }

    /// Findings by how what went wrong begins; numbers in it make no difference.
    fn causes(&self) -> BTreeMap<String, Vec<&Finding>> {
        let mut causes: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.findings {
            let first = finding.what.lines().next().unwrap_or_default();
            // Texts of submissions stand further behind.
            let cause = first.chars().filter(|c| !c.is_ascii_digit()).take(80).collect();
            causes.entry(cause).or_default().push(finding);
        }
        causes
    }
}

impl Tally {
    fn count(&mut self, played: &Played) {
        self.rounds += 1;
        match &played.outcome {
            Err(_) => self.broken += 1,
            Ok(_) if played.flipped.is_none() => self.missed += 1,
            Ok(Outcome::Right) => self.right += 1,
            Ok(Outcome::Recovered) => self.recovered += 1,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, round, about, what, kept } = self;
        write!(
            f,
            "VIOLATION in round {round} of seed {seed} ({about})\n  {}\n  \
             the same decisions again: cargo xtask crash --flips --seed {seed} --round {round}\n  \
             everything about it: {kept}",
            what.trim_end()
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenes = self.by_scene.iter().map(|(scene, tally)| (scene.to_string(), tally));
        let regions = self.by_region.iter().map(|(region, tally)| (region.to_string(), tally));
        for (title, rows) in
            [("scene", scenes.collect::<Vec<_>>()), ("region", regions.collect::<Vec<_>>())]
        {
            writeln!(
                f,
                "{title:<10}{:>8}{:>8}{:>8}{:>12}{:>8}",
                "rounds", "missed", "right", "recovered", "broken"
            )?;
            for (name, t) in rows {
                writeln!(
                    f,
                    "{name:<10}{:>8}{:>8}{:>8}{:>12}{:>8}",
                    t.rounds, t.missed, t.right, t.recovered, t.broken
                )?;
            }
        }
        writeln!(
            f,
            "longest way from a flip to the right end or an error: {} ms",
            self.longest.as_millis()
        )?;
        for (cause, findings) in self.causes() {
            let rounds: Vec<String> = findings.iter().map(|it| it.round.to_string()).collect();
            writeln!(f, "VIOLATION, {} times: {cause}", findings.len())?;
            writeln!(f, "  rounds {} of seed {}", rounds.join(", "), findings[0].seed)?;
        }
        for blind in self.blind() {
            writeln!(f, "BLIND: {blind}")?;
        }
        write!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}
