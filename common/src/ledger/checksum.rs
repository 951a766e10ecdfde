//! One number for many: for IPC keys, and to see whether what is in shared memory was written by us.
//! Against damage, not against an attacker.

/// A number that half of its bits change in when any bit of the words does.
#[must_use]
pub(crate) fn of(words: impl IntoIterator<Item = u64>) -> u64 {
    mix(words.into_iter().fold(SEED, add))
}

/// The same for many words: of every fourth one, which the processor computes at once.
#[must_use]
pub(crate) fn of_many(words: &[[u8; 8]]) -> u64 {
    let (fours, rest) = words.as_chunks();
    let mut sums = [SEED; 4];
    for four in fours {
        for (sum, &word) in sums.iter_mut().zip::<&[_; 4]>(four) {
            *sum = add(*sum, u64::from_le_bytes(word));
        }
    }
    of(sums.into_iter().chain(rest.iter().map(|&word| u64::from_le_bytes(word))))
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Each step can be undone, so one word that is changed, in however many bits, always gives another sum.
fn add(sum: u64, word: u64) -> u64 {
    let z = (sum ^ word).wrapping_mul(SEED);
    z ^ (z >> 32)
}

/// The finaliser of splitmix64: every bit of the input changes half the bits of the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_changed_bit_is_seen(words in proptest::collection::vec(any::<u64>(), 1..20),
                                   word in any::<prop::sample::Index>(), bit in 0..64) {
            let mut changed = words.clone();
            changed[word.index(words.len())] ^= 1_u64 << bit;
            prop_assert_ne!(of(words), of(changed));
        }
    }

    #[test]
    fn zeros_are_not_their_own_sum() {
        assert_ne!(of([0; 10]), 0);
    }
}
