//! Rounds whose decisions are drawn from a seed: which of them are run, and how long.

use std::time::{Duration, Instant};

use crate::findings::Finding;
use crate::random::plan::RoundPlan;
use crate::violation::Violation;

/// Which rounds.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Draws the decisions of `--random` and `--flips`; the same seed draws the same ones.
    #[arg(long, value_name = "S", requires = "drawn")]
    seed: Option<u64>,
    /// How long to begin new rounds.
    #[arg(long = "for", value_name = "TIME", requires = "drawn", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// How many rounds; without it and without --for: 1000 of `--random`, 300 of `--flips`.
    #[arg(long, value_name = "R", requires = "drawn")]
    rounds: Option<u64>,
    /// Only this round of the seed.
    #[arg(long, value_name = "R", requires = "seed", conflicts_with = "rounds")]
    round: Option<u64>,
}

impl Args {
    /// Begins them, and prints the seed. Returns it, and the numbers of the rounds.
    pub(crate) fn begin(&self, number: u64) -> (u64, impl Iterator<Item = u64> + use<>) {
        let seed = self.seed.unwrap_or_else(drawn_seed);
        common::tell!("seed {seed}");
        let first = self.round.unwrap_or(0);
        let number = match (self.round, self.rounds, self.duration) {
            (Some(_), ..) => 1,
            (None, Some(rounds), _) => rounds,
            (None, None, Some(_)) => u64::MAX - first,
            (None, None, None) => number,
        };
        let until = self.duration.map(|duration| Instant::now() + duration);
        let goes_on = move |_: &u64| until.is_none_or(|until| Instant::now() < until);
        (seed, (first..first + number).take_while(goes_on))
    }
}

/// A promise was broken in a round of this tool.
pub(crate) fn finding(
    tool: &'static str,
    RoundPlan { seed, round, .. }: &RoundPlan,
    violation: Violation,
) -> Finding {
    let point = format!("--seed {seed} --round {round}");
    Finding { point, option: Some(tool), kind: String::new(), violation }
}

/// Of the clock: it is printed, so that it can be given again.
fn drawn_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
}

/// Whether a seed and a round draw the same decisions again, and others draw others.
#[cfg(test)]
pub(super) fn assert_drawn_again(show: impl Fn(u64, u64) -> String) {
    assert_eq!(show(7, 3), show(7, 3));
    assert_ne!(show(7, 3), show(7, 4));
    assert_ne!(show(7, 3), show(8, 3));
}
