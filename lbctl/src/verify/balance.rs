//! Which of the messages 1..count of a text are missing, and which are there too often, in whatever
//! order their lines are.

use std::collections::BTreeMap;

/// How often each index is due and has not come (above 0), or came without being due (below 0).
///
/// Kept as the places where that number changes. Lines that come in order move one such place along,
/// so a billion messages take no more memory than ten; only damage adds places.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// At this index the number is higher by this much than at the index before.
    steps: BTreeMap<u32, i64>,
}

/// Indices next to each other that are missing, or surplus, equally often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Imbalance {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Above 0: missing; below: surplus.
    pub(super) times: i64,
}

impl Balance {
    /// Messages `1..=count` are due.
    pub(super) fn expect(&mut self, count: u32) {
        self.step(1, 1);
        self.step(count + 1, -1);
    }

    /// Messages `first..=last` have come.
    pub(super) fn receive(&mut self, first: u32, last: u32) {
        self.step(first, -1);
        self.step(last + 1, 1);
    }

    fn step(&mut self, index: u32, by: i64) {
        let step = self.steps.entry(index).or_insert(0);
        *step += by;
        if *step == 0 {
            self.steps.remove(&index);
        }
    }

    /// Everything due has come, and nothing else.
    pub(super) fn is_even(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn imbalances(&self) -> impl Iterator<Item = Imbalance> {
        let mut times = 0;
        let ends = self.steps.keys().skip(1).map(|next| next - 1);
        self.steps
            .iter()
            .zip(ends)
            .map(move |((&first, &step), last)| {
                times += step;
                Imbalance { first, last, times }
            })
            .filter(|imbalance| imbalance.times != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_in_order_take_no_memory() {
        let mut balance = Balance::default();
        balance.expect(100_000);
        for index in 1..=100_000 {
            assert!(balance.steps.len() <= 2);
            balance.receive(index, index);
        }
        assert!(balance.is_even());
    }

    proptest! {
        /// Against the obvious way: a number for each index.
        #[test]
        fn equals_counting_each_index(counts in proptest::collection::vec(1..20u32, 0..4),
                                      received in proptest::collection::vec(1..25u32, 0..60)) {
            let (mut balance, mut each) = (Balance::default(), [0i64; 26]);
            for &count in &counts {
                balance.expect(count);
                each[1..=count as usize].iter_mut().for_each(|n| *n += 1);
            }
            for &index in &received {
                balance.receive(index, index);
                each[index as usize] -= 1;
            }
            let mut found = [0i64; 26];
            for Imbalance { first, last, times } in balance.imbalances() {
                found[first as usize..=last as usize].iter_mut().for_each(|n| *n += times);
            }
            prop_assert_eq!(found, each);
            prop_assert_eq!(balance.is_even(), each == [0; 26]);
        }
    }
}
