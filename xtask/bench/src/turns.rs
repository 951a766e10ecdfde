//! Two ways to do something, by turns, so that whatever else the machine does is shared by both.

use std::time::Duration;

use super::failure::Failure;
use super::spread::Spread;

/// How long both took.
pub(super) struct Turns {
    pub(super) first_ms: Spread,
    pub(super) second_ms: Spread,
    /// The first by the second, round by round.
    pub(super) ratio: Spread,
}

/// So many rounds of both, and one before. Who begins a round ends the next one.
pub(super) fn run(
    rounds: usize,
    first: impl Fn() -> Result<Duration, Failure>,
    second: impl Fn() -> Result<Duration, Failure>,
) -> Result<Turns, Failure> {
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (first, second) = if round % 2 == 0 {
            let first = first()?;
            (first, second()?)
        } else {
            let second = second()?;
            (first()?, second)
        };
        if round > 0 {
            firsts.push(first.as_secs_f64() * 1e3);
            seconds.push(second.as_secs_f64() * 1e3);
        }
    }
    let ratio = Spread::of_ratios(&firsts, &seconds);
    Ok(Turns { first_ms: Spread::of(firsts), second_ms: Spread::of(seconds), ratio })
}
