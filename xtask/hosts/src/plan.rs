//! What fails in a round: kind, place and times, drawn from the seed before anything runs.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::site::HOSTS;

/// How long a fault is there, in milliseconds.
const HELD_MS: std::ops::RangeInclusive<u64> = 500..=6_000;
/// How long everything goes well before it.
const BEFORE_MS: std::ops::RangeInclusive<u64> = 0..=500;

/// A kind of fault.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    ValueEnum,
    Serialize,
    strum::Display,
    strum::EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Kind {
    /// SIGKILL to all processes of a host.
    KillHost,
    /// SIGKILL to its server.
    KillServer,
    /// SIGSTOP to its server, later SIGCONT.
    StopServer,
    /// SIGINT to its server, which ends.
    EndServer,
    /// Its link is down, later up.
    CutOff,
    /// Its disk is full: no room for the server, nor for the log.
    FillDisk,
    /// SIGKILL to its balancer alone.
    KillBalancer,
    /// SIGKILL to what its balancer has started.
    KillWorkers,
    /// It is cut off, and another host takes its workers over. Joined again, there are two of each for a moment.
    TakeOver,
}

impl Kind {
    /// Whether it can only be had in namespaces.
    pub(crate) fn needs_namespaces(self) -> bool {
        matches!(self, Self::CutOff | Self::FillDisk | Self::TakeOver)
    }
}

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) round: u64,
    pub(crate) kind: Kind,
    /// From 1.
    pub(crate) host: u8,
    /// Another one.
    pub(crate) other: u8,
    pub(crate) before: Duration,
    pub(crate) held: Duration,
}

impl Fault {
    /// A function of seed, round and the kinds that there are.
    pub(crate) fn draw(seed: u64, round: u64, kinds: &[Kind]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(round);
        let mut host = |count| rng.random_range(1..=count);
        let (host, step) = (host(HOSTS), host(HOSTS - 1));
        Self {
            round,
            host,
            other: (host - 1 + step) % HOSTS + 1,
            before: Duration::from_millis(rng.random_range(BEFORE_MS)),
            held: Duration::from_millis(rng.random_range(HELD_MS)),
            kind: kinds[Self::turn(seed, round, kinds.len())],
        }
    }

    /// Each kind comes once before any comes again, in an order of the seed: so a short run has most of them.
    fn turn(seed: u64, round: u64, kinds: usize) -> usize {
        let all = kinds as u64;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Apart from those of the rounds.
        rng.set_stream(u64::MAX - round / all);
        let mut order: Vec<usize> = (0..kinds).collect();
        for at in (1..kinds).rev() {
            order.swap(at, rng.random_range(0..=at));
        }
        order[(round % all) as usize]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, kind, host, other, held, .. } = self;
        write!(f, "round {round}: {kind} of host {host} for {} ms", held.as_millis())?;
        if *kind == Kind::TakeOver { write!(f, ", by host {other}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::IntoEnumIterator;

    use super::*;

    fn drawn(seed: u64) -> Vec<String> {
        let kinds: Vec<_> = Kind::iter().collect();
        (0..20).map(|round| format!("{:?}", Fault::draw(seed, round, &kinds))).collect()
    }

    #[test]
    fn a_seed_draws_the_same_faults_again() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        let kinds: Vec<_> = Kind::iter().collect();
        let number = kinds.len() as u64;
        for first in [0, number, 2 * number] {
            let rounds = first..first + number;
            let met = rounds.map(|round| Fault::draw(1, round, &kinds).kind);
            assert_eq!(met.collect::<BTreeSet<_>>().len(), kinds.len());
        }
    }

    #[test]
    fn a_host_is_never_its_own_other() {
        for round in 0..200 {
            let Fault { host, other, .. } = Fault::draw(3, round, &[Kind::TakeOver]);
            assert!(host != other && (1..=HOSTS).contains(&host) && (1..=HOSTS).contains(&other));
        }
    }
}
