//! What was done in all rounds: a run that killed nothing must not look like one that proved something.

use std::fmt;

use super::plan::{Deed, Part};

/// Counts of one role, or of several rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    kills: u64,
    stops: u64,
    continues: u64,
    starts: u64,
}

/// Of the rounds with work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkTally {
    pub(super) rounds: u64,
    pub(super) messages: u64,
    pub(super) attempts: u64,
    /// Those among them that are not their message's first.
    pub(super) retries: u64,
    pub(super) letters: u64,
    /// Those among them whose message killed its worker three times.
    pub(super) poison: u64,
    /// Attempts that met a process of an earlier one.
    pub(super) overlaps: u64,
    /// Attempts that met a lock of a process that was dead but for that.
    pub(super) dying: u64,
    pub(super) kills_of_both: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rounds: u64,
    pub(crate) client: Faults,
    pub(crate) balancer: Faults,
    pub(crate) worker: Faults,
    pub(crate) handler: Faults,
    pub(crate) work: WorkTally,
    pub(crate) drains: u64,
    /// Kills after which a transaction was seen pending.
    pub(crate) pending: u64,
    /// Submissions that a client printed `accepted` for.
    pub(crate) accepted: u64,
    /// Submissions in the log whose client was killed before it could say so.
    pub(crate) unconfirmed: u64,
    pub(crate) messages: u64,
    pub(crate) sessions: u64,
    /// Rounds in which the balancer gave up a worker that was killed too often.
    pub(crate) given_up: u64,
    /// The longest way from the last fault to the end, in milliseconds.
    pub(crate) healing_ms_max: u128,
}

impl Tally {
    /// Counts a deed that met a running process.
    pub(crate) fn count(&mut self, deed: Deed, part: Part) {
        let faults = match part {
            Part::Handler(_) => &mut self.handler,
            Part::Client(_) => &mut self.client,
            Part::Balancer => &mut self.balancer,
            Part::Worker(_) => &mut self.worker,
        };
        match deed {
            Deed::Start => faults.starts += 1,
            Deed::Kill => faults.kills += 1,
            Deed::KillBoth => self.work.kills_of_both += 1, // each is counted by itself
            Deed::Stop => faults.stops += 1,
            Deed::Continue => faults.continues += 1,
            Deed::Drain => self.drains += 1,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.client.add(other.client);
        self.balancer.add(other.balancer);
        self.worker.add(other.worker);
        self.handler.add(other.handler);
        self.work.add(other.work);
        self.drains += other.drains;
        self.pending += other.pending;
        self.accepted += other.accepted;
        self.unconfirmed += other.unconfirmed;
        self.messages += other.messages;
        self.sessions += other.sessions;
        self.given_up += other.given_up;
        self.healing_ms_max = self.healing_ms_max.max(other.healing_ms_max);
    }
}

impl WorkTally {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.messages += other.messages;
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.letters += other.letters;
        self.poison += other.poison;
        self.overlaps += other.overlaps;
        self.dying += other.dying;
        self.kills_of_both += other.kills_of_both;
    }
}

impl fmt::Display for WorkTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rounds with work: {} messages, {} attempts, of these {} again; {} dead letters, of these {} for \
             three deaths",
            self.rounds, self.messages, self.attempts, self.retries, self.letters, self.poison
        )?;
        write!(
            f,
            "worker and balancer killed at once: {}; attempts beside one that was dying: {}; overlaps: {}",
            self.kills_of_both, self.dying, self.overlaps
        )
    }
}

impl Faults {
    pub(super) fn kills(self) -> u64 {
        self.kills
    }

    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.stops += other.stops;
        self.continues += other.continues;
        self.starts += other.starts;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rounds, {} sessions", self.rounds, self.sessions)?;
        writeln!(f, "             kills   stops  continues    starts")?;
        for (name, faults) in [
            ("client", self.client),
            ("balancer", self.balancer),
            ("worker", self.worker),
            ("handler", self.handler),
        ] {
            writeln!(
                f,
                "  {name:<9}{:>7} {:>7} {:>10} {:>9}",
                faults.kills, faults.stops, faults.continues, faults.starts
            )?;
        }
        writeln!(
            f,
            "kills after which a transaction was seen pending: {}; drains: {}; workers given up: {}",
            self.pending, self.drains, self.given_up
        )?;
        writeln!(
            f,
            "submissions: {} accepted, {} more in the log whose client was killed before it said so; {} messages",
            self.accepted, self.unconfirmed, self.messages
        )?;
        writeln!(f, "{}", self.work)?;
        write!(f, "longest way from the last fault to the end: {} ms", self.healing_ms_max)
    }
}
