//! What was done in all rounds: a run that killed nothing must not look like one that proved something.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use strum::IntoEnumIterator;

use super::plan::{Deed, Part};
use crate::counts::{Counts, table};

/// What is counted, in the words of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display, strum::EnumIter)]
pub(crate) enum Count {
    #[strum(to_string = "rounds")]
    Rounds,
    #[strum(to_string = "sessions")]
    Sessions,
    #[strum(to_string = "messages")]
    Messages,
    #[strum(to_string = "kills after which a transaction was seen pending")]
    Pending,
    #[strum(to_string = "workers given up, which were killed too often")]
    GivenUp,
    #[strum(to_string = "submissions that a client printed `accepted` for")]
    Accepted,
    #[strum(to_string = "more in the log whose client was killed before it said so")]
    Unconfirmed,
    #[strum(to_string = "rounds with work")]
    WorkRounds,
    #[strum(to_string = "messages in these")]
    WorkMessages,
    #[strum(to_string = "attempts")]
    Attempts,
    #[strum(to_string = "attempts that are not their message's first")]
    Retries,
    #[strum(to_string = "dead letters")]
    Letters,
    #[strum(to_string = "of these for three deaths")]
    Poison,
    #[strum(to_string = "attempts that met a lock of a process that was dead but for that")]
    Dying,
    #[strum(to_string = "attempts that met a process of an earlier one")]
    Overlaps,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts<Count>,
    /// Deeds that met a running process, by whose that was.
    deeds: BTreeMap<&'static str, Counts<Deed>>,
    /// The longest way from the last fault to the end.
    pub(crate) healing_max: Duration,
}

impl Tally {
    /// Counts a deed that met a running process.
    pub(crate) fn met(&mut self, deed: Deed, part: Part) {
        self.deeds.entry(part.into()).or_default().add(deed, true);
    }

    /// How often that was so.
    pub(super) fn kills(&self, part: Part) -> u64 {
        self.deeds.get(<&str>::from(part)).map_or(0, |deeds| deeds.of(Deed::Kill))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add_all(&other.counts);
        for (part, deeds) in &other.deeds {
            self.deeds.entry(part).or_default().add_all(deeds);
        }
        self.healing_max = self.healing_max.max(other.healing_max);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&table("", &self.deeds))?;
        for count in Count::iter() {
            writeln!(f, "{:>9} {count}", self.counts.of(count))?;
        }
        write!(f, "longest way from the last fault to the end: {} ms", self.healing_max.as_millis())
    }
}
