//! What came of all rounds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::place::Region;
use super::plan::{FlipPlan, Scene};
use super::session::Played;
use crate::counts::{Counts, Outcome, table};
use crate::findings::Findings;
use crate::rounds;

/// In so many rounds a region is met at least once.
const MANY: u64 = 10;

/// The result of all rounds.
#[derive(Default)]
pub(super) struct Report {
    by_scene: BTreeMap<Scene, Counts<Outcome>>,
    by_region: BTreeMap<Region, Counts<Outcome>>,
    findings: Findings,
    longest: Duration,
}

impl Report {
    pub(super) fn played(&mut self, plan: &FlipPlan, played: Played) {
        let region = played.flipped.map_or(plan.place.region, |flipped| flipped.region);
        let outcome = match played.outcome {
            Err(_) => Outcome::Broken,
            Ok(_) if played.flipped.is_none() => Outcome::Missed,
            Ok(outcome) => outcome,
        };
        self.by_scene.entry(plan.scene).or_default().tried(outcome);
        self.by_region.entry(region).or_default().tried(outcome);
        match played.outcome {
            Ok(_) => self.longest = self.longest.max(played.took),
            Err(violation) => {
                self.findings.add(rounds::finding("--flips", &plan.play, violation));
            }
        }
    }

    fn find_blind(&mut self) {
        let flips =
            |counts: &Counts<Outcome>| counts.of(Outcome::Tried) - counts.of(Outcome::Missed);
        if self.by_region.values().map(flips).sum::<u64>() == 0 {
            self.findings.blind("no bit was flipped");
            return;
        }
        for (region, counts) in &self.by_region {
            if counts.of(Outcome::Tried) >= MANY && flips(counts) == 0 {
                self.findings.blind(format!("no bit was flipped: {region}"));
            }
        }
    }

    /// Prints it. Returns whether no contract was broken.
    pub(super) fn conclude(mut self) -> Result<bool, String> {
        self.find_blind();
        let text = format!(
            "{}{}longest way from a flip to the right end or an error: {} ms\n",
            table("scene", &self.by_scene),
            table("region", &self.by_region),
            self.longest.as_millis()
        );
        self.findings.conclude(&text, None)
    }
}
