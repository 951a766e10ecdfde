//! Which points are tried: all, or a sample that always holds each write to the log.

use super::play::Trace;
use super::point::{At, Moment, Portion, Strike};
use super::role::Role;
use super::steps::Steps;

/// Before it opens the directory a process touches nothing of anyone's, so a kill at one call there
/// is like a kill at any other: of these the quick set tries one in so many.
const STRIDE_BEFORE_OPEN: u32 = 16;
/// Runs differ a little in their number of calls, so the thorough set goes on after those counted.
const MARGIN_PERCENT: u32 = 10;

/// How densely points lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Density {
    /// One in so many calls after the directory is opened.
    pub(crate) stride: u32,
    /// From which one on.
    pub(crate) offset: u32,
    /// The process is a worker that outlives a load balancer.
    pub(crate) outlive: bool,
    /// Also all calls before that, and some more than were counted.
    pub(crate) thorough: bool,
}

impl Density {
    /// One in so many. It begins elsewhere for each role, so that together they see more.
    pub(crate) fn sample(stride: u32, seed: usize) -> Self {
        let offset = u32::try_from(seed).unwrap_or(0) % stride;
        Self { stride, offset, outlive: false, thorough: false }
    }
}

/// The kills of one role, after its calls were counted.
pub(crate) fn strikes(role: Role, counted: &Steps, density: Density) -> Vec<Strike> {
    // A COMMAND does not write to the log; of who does, the first write is tried in any case.
    let is_handler = matches!(role, Role::Handler(_));
    let mut strikes = writes(role, if is_handler { 0 } else { counted.writes.max(1) });
    let opened_at = counted.opened_at.unwrap_or(0);
    let end =
        counted.calls + if density.thorough { counted.calls * MARGIN_PERCENT / 100 + 1 } else { 0 };
    for n in 1..=end {
        let wanted = match n {
            _ if density.thorough && density.stride == 1 => true,
            n if n < opened_at => !density.thorough && n.is_multiple_of(STRIDE_BEFORE_OPEN),
            n => (n + density.offset).is_multiple_of(density.stride),
        };
        if wanted {
            let moments = [Moment::Entry, Moment::Exit];
            strikes.extend(moments.map(|moment| Strike { role, at: At::Call(n), moment }));
        }
        // Only one or two of these calls receive a frame: none is left out.
        if density.outlive && n > opened_at {
            strikes.push(Strike { role, at: At::Call(n), moment: Moment::Outlive });
        }
    }
    strikes
}

/// Those at and inside each write to the log.
fn writes(role: Role, writes: u32) -> Vec<Strike> {
    let moments: Vec<Moment> =
        [Moment::Entry, Moment::Exit].into_iter().chain(Portion::ALL.map(Moment::Torn)).collect();
    (1..=writes)
        .flat_map(|n| moments.iter().map(move |&moment| Strike { role, at: At::Write(n), moment }))
        .collect()
}

impl From<Strike> for Trace {
    fn from(strike: Strike) -> Self {
        Self { role: strike.role, stop: Some((strike.at, strike.moment)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Steps {
        Steps { calls: 100, writes: 2, opened_at: Some(60), ..Steps::default() }
    }

    #[test]
    fn the_thorough_set_leaves_nothing_out() {
        let density = Density { stride: 1, offset: 0, thorough: true, outlive: false };
        let strikes = strikes(Role::Balancer, &counted(), density);
        for n in 1..=100 {
            for moment in [Moment::Entry, Moment::Exit] {
                let strike = Strike { role: Role::Balancer, at: At::Call(n), moment };
                assert!(strikes.contains(&strike), "{strike}");
            }
        }
        assert_eq!(strikes.iter().filter(|s| matches!(s.moment, Moment::Torn(_))).count(), 6);
    }

    #[test]
    fn the_quick_set_has_every_write_and_a_sample_of_the_rest() {
        let density = Density { stride: 4, offset: 1, thorough: false, outlive: false };
        let strikes = strikes(Role::Client(1), &counted(), density);
        assert_eq!(strikes.iter().filter(|s| matches!(s.at, At::Write(_))).count(), 10);
        let calls = strikes.iter().filter(|s| matches!(s.at, At::Call(60..))).count();
        assert_eq!(calls, 2 * 10);
    }
}
