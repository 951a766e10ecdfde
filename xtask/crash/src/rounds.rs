//! Rounds whose decisions are drawn from a seed: which of them are run, and how long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::is_interrupted;

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

/// Those that are still to be run; several threads take them.
pub(crate) struct Rounds {
    pub(crate) seed: u64,
    /// How many at most.
    pub(crate) number: u64,
    next: AtomicU64,
    end: u64,
    until: Option<Instant>,
    stopped: AtomicBool,
}

impl Args {
    /// Begins them, and prints the seed.
    pub(crate) fn begin(&self, number: u64) -> Rounds {
        let seed = self.seed.unwrap_or_else(drawn_seed);
        let first = self.round.unwrap_or(0);
        let number = match (self.round, self.rounds, self.duration) {
            (Some(_), ..) => 1,
            (None, Some(rounds), _) => rounds,
            (None, None, Some(_)) => u64::MAX - first,
            (None, None, None) => number,
        };
        common::tell!("seed {seed}");
        Rounds {
            seed,
            number,
            next: AtomicU64::new(first),
            end: first + number,
            until: self.duration.map(|duration| Instant::now() + duration),
            stopped: AtomicBool::new(false),
        }
    }
}

impl Rounds {
    /// The next one, if there is one.
    pub(crate) fn next(&self) -> Option<u64> {
        let over = self.stopped.load(Ordering::Relaxed)
            || self.until.is_some_and(|until| Instant::now() >= until)
            || is_interrupted();
        let round = (!over).then(|| self.next.fetch_add(1, Ordering::Relaxed));
        round.filter(|&round| round < self.end)
    }

    /// None follows any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether they were stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
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
