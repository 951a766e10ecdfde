//! A draw of one of several things.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One of several, by weight.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, weighted: &[(u32, T)]) -> T {
    let mut left = rng.random_range(0..weighted.iter().map(|(weight, _)| weight).sum());
    for (weight, value) in weighted {
        match left.checked_sub(*weight) {
            None => return *value,
            Some(rest) => left = rest,
        }
    }
    unreachable!("the weights add up to more than what was drawn")
}
