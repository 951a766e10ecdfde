//! Round-robin: which worker a message belongs to. Messages of a session are numbered 0, 1, 2, …
//! over all submissions, so the turn runs on from one submission to the next.
//!
//! Others rely on a turn of N messages, one for each worker: `Outlet::fill` of the load balancer steps over the others', the
//! log's `runs.rs` writes a turn at a time, and `history` learns N from the log by worker 1's coming again.

use std::fmt;
use std::str::FromStr;

/// Most workers in a session.
pub const WORKERS_MAX: u32 = 256;

/// How many workers share a session's messages: N, 1 to [`WORKERS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(u32);

/// A worker's number: K, 1 to [`WORKERS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u32);

/// N or K is not a number from 1 to [`WORKERS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 1 to {WORKERS_MAX}, in digits only")]
pub struct WorkerNumberError;

impl Workers {
    /// As many as there may be.
    pub const MAX: Self = Self(WORKERS_MAX);

    /// N workers, if N is in range.
    pub fn new(n: impl TryInto<u32>) -> Result<Self, WorkerNumberError> {
        let n = n.try_into().ok().filter(|n| (1..=WORKERS_MAX).contains(n));
        n.map(Self).ok_or(WorkerNumberError)
    }

    /// N.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// Workers 1 to N.
    pub fn ids(self) -> impl DoubleEndedIterator<Item = WorkerId> {
        (1..=self.0).map(WorkerId)
    }

    /// The worker that message number `message` of the session belongs to.
    #[must_use]
    pub fn worker_of(self, message: u64) -> WorkerId {
        // The remainder is below N, which is at most 256.
        WorkerId((message % u64::from(self.0)) as u32 + 1)
    }

    /// Whose turn comes after that of `worker`.
    #[must_use]
    pub fn after(self, worker: WorkerId) -> WorkerId {
        WorkerId(if worker.0 < self.0 { worker.0 + 1 } else { 1 })
    }

    /// How many of the session's first `messages` messages belong to `worker`.
    #[must_use]
    pub fn share(self, worker: WorkerId, messages: u64) -> u64 {
        let workers = u64::from(self.0);
        messages / workers + u64::from(messages % workers >= u64::from(worker.0))
    }

    /// The session's number of the message that is `worker`'s own number `own` (0 for its first).
    #[must_use]
    pub fn message_of(self, worker: WorkerId, own: u64) -> u64 {
        // A damaged ledger may say that a worker has executed any number at all.
        own.saturating_mul(self.0.into()).saturating_add(u64::from(worker.0 - 1))
    }
}

impl WorkerId {
    /// Worker number K, if K is in range.
    pub fn new(k: impl TryInto<u32>) -> Result<Self, WorkerNumberError> {
        Workers::new(k).map(|n| Self(n.0))
    }

    /// All that there may be.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (1..=WORKERS_MAX).map(Self)
    }

    /// K.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// K - 1: this worker's place in an array.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize - 1
    }
}

impl FromStr for Workers {
    type Err = WorkerNumberError;

    fn from_str(digits: &str) -> Result<Self, WorkerNumberError> {
        // Besides digits, a number's parser takes a sign.
        if digits.starts_with('+') {
            return Err(WorkerNumberError);
        }
        Self::new(digits.parse().unwrap_or(0u32))
    }
}

impl FromStr for WorkerId {
    type Err = WorkerNumberError;

    fn from_str(digits: &str) -> Result<Self, WorkerNumberError> {
        digits.parse().map(|n: Workers| Self(n.0))
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("1", Ok(1))]
    #[case("256", Ok(256))]
    #[case("007", Ok(7))]
    #[case("0", Err(WorkerNumberError))]
    #[case("257", Err(WorkerNumberError))]
    #[case("", Err(WorkerNumberError))]
    #[case("+3", Err(WorkerNumberError))]
    #[case("3 ", Err(WorkerNumberError))]
    #[case("99999999999", Err(WorkerNumberError))]
    fn numbers(#[case] digits: &str, #[case] expected: Result<u32, WorkerNumberError>) {
        assert_eq!(digits.parse::<Workers>().map(Workers::get), expected);
        assert_eq!(digits.parse::<WorkerId>().map(WorkerId::get), expected);
    }

    proptest! {
        #[test]
        fn every_message_has_one_owner_and_shares_add_up(n in 1..=WORKERS_MAX, messages in 0..5_000u64) {
            let workers = Workers::new(n).unwrap();
            let shares: Vec<u64> = workers.ids().map(|k| workers.share(k, messages)).collect();
            prop_assert_eq!(shares.iter().sum::<u64>(), messages);
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            let next = workers.after(workers.worker_of(messages));
            prop_assert_eq!(next, workers.worker_of(messages + 1));
            for k in workers.ids() {
                let own = workers.share(k, messages);
                // The next message of k is the first one of k that is not among these.
                prop_assert!(workers.message_of(k, own) >= messages);
                if own > 0 {
                    let last = workers.message_of(k, own - 1);
                    prop_assert!(last < messages);
                    prop_assert_eq!(workers.worker_of(last), k);
                }
            }
        }
    }
}
