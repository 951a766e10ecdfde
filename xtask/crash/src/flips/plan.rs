//! What a round does: a way of using the system, and when which bit is flipped.

use std::fmt;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::place::Place;
use crate::random::pick::pick;
use crate::random::plan::{self as random, Deed, Feed, Feeding, Part, Step};

/// What the system is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Scene {
    /// A service that waits, before or after its first submission; then others come.
    Idle,
    /// One submission of many messages.
    Busy,
    /// Many submissions from standard input.
    Many,
    /// A worker is stopped in the middle.
    Stopped,
    /// A service is asked to end.
    Drain,
}

/// A round.
#[derive(Clone, Debug)]
pub(super) struct FlipPlan {
    pub(super) scene: Scene,
    pub(super) play: random::RoundPlan,
    /// The flip comes before this step, after a pause.
    pub(super) flip_before: usize,
    pub(super) pause: Duration,
    pub(super) place: Place,
}

impl FlipPlan {
    /// The decisions of a round: a function of seed and round.
    pub(super) fn draw(seed: u64, round: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(round);
        let scene = pick(
            &mut rng,
            &[
                (2, Scene::Idle),
                (3, Scene::Busy),
                (3, Scene::Many),
                (2, Scene::Stopped),
                (2, Scene::Drain),
            ],
        );
        let workers = rng.random_range(1..=4);
        let by_hand = matches!(scene, Scene::Busy | Scene::Stopped) && rng.random_ratio(1, 4);
        let serve = matches!(scene, Scene::Idle | Scene::Drain);
        let (clients, steps, flip_before) = match scene {
            Scene::Idle => idle(&mut rng),
            Scene::Busy => busy(&mut rng),
            Scene::Many => many(&mut rng),
            Scene::Stopped => stopped(&mut rng, workers),
            Scene::Drain => drain(&mut rng),
        };
        let by_hand_first = (1..=workers).filter(|_| by_hand).map(|k| start(0, Part::Worker(k)));
        let flip_before = flip_before + by_hand_first.clone().count();
        let steps = by_hand_first.chain(steps).collect();
        let play =
            random::RoundPlan { seed, round, workers, serve, by_hand, work: None, clients, steps };
        let pause = match scene {
            Scene::Idle => upto(&mut rng, 50_000),
            Scene::Drain => upto(&mut rng, 8_000),
            _ => upto(&mut rng, 20_000),
        };
        Self { scene, play, flip_before, pause, place: Place::draw(&mut rng) }
    }
}

type Drawn = (Vec<Feeding>, Vec<Step>, usize);

fn idle(rng: &mut ChaCha8Rng) -> Drawn {
    let clients = vec![arguments(rng, 1, 20), arguments(rng, 1, 20)];
    let (balancer, first, second) =
        (start(0, Part::Balancer), start(20_000, Part::Client(0)), start(0, Part::Client(1)));
    let late = Step { pause: upto(rng, 30_000), ..first };
    // Before its first submission, or after.
    if rng.random_ratio(1, 3) {
        (clients, vec![balancer, late, second], 1)
    } else {
        (clients, vec![balancer, first, Step { pause: late.pause, ..second }], 2)
    }
}

fn busy(rng: &mut ChaCha8Rng) -> Drawn {
    let count = rng.random_range(20_000..200_000);
    let clients = vec![arguments(rng, 1, count)];
    (clients, vec![start(0, Part::Client(0)), start(1_000, Part::Balancer)], 2)
}

fn many(rng: &mut ChaCha8Rng) -> Drawn {
    let number = rng.random_range(50..300);
    let pauses = [(1, 0), (2, 100), (1, 1_000)];
    let pause = Duration::from_micros(pick(rng, &pauses));
    let clients = vec![Feeding { feed: Feed::Pipe(pause), ..arguments(rng, number, 100) }];
    (clients, vec![start(0, Part::Balancer), start(0, Part::Client(0))], 2)
}

fn stopped(rng: &mut ChaCha8Rng, workers: u32) -> Drawn {
    let (clients, mut steps, _) = busy(rng);
    let part = Part::Worker(rng.random_range(1..=workers));
    steps.push(Step { pause: upto(rng, 20_000), deed: Deed::Stop, part });
    steps.push(Step { pause: upto(rng, 300_000), deed: Deed::Continue, part });
    (clients, steps, 3)
}

fn drain(rng: &mut ChaCha8Rng) -> Drawn {
    let number = rng.random_range(1..50);
    let clients = vec![arguments(rng, number, 1_000)];
    let drain = Step { pause: upto(rng, 15_000), deed: Deed::Drain, part: Part::Balancer };
    let steps = vec![start(0, Part::Client(0)), start(1_000, Part::Balancer), drain];
    (clients, steps, pick(rng, &[(1, 2), (1, 3)]))
}

/// A client that gets so many submissions as arguments.
fn arguments(rng: &mut ChaCha8Rng, number: usize, count_max: u32) -> Feeding {
    let submission = |_| (rng.random_range(40..200), rng.random_range(1..=count_max));
    let submissions = (0..number).map(submission).collect();
    Feeding { feed: Feed::Arguments, durable: false, submissions }
}

fn start(micros: u64, part: Part) -> Step {
    Step { pause: Duration::from_micros(micros), deed: Deed::Start, part }
}

fn upto(rng: &mut ChaCha8Rng, micros: u64) -> Duration {
    Duration::from_micros(rng.random_range(0..micros))
}

impl fmt::Display for FlipPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scene, play, flip_before, pause, place } = self;
        write!(f, "{scene}: {play}")?;
        writeln!(f, "before step {flip_before}, after {pause:?}: {place:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds;

    #[test]
    fn a_seed_draws_the_same_decisions_again() {
        rounds::assert_drawn_again(|seed, round| FlipPlan::draw(seed, round).to_string());
    }

    #[test]
    fn every_flip_comes_after_a_start_and_every_stopped_worker_goes_on() {
        for round in 0..200 {
            let FlipPlan { scene, play, flip_before, .. } = FlipPlan::draw(1, round);
            assert!((1..=play.steps.len()).contains(&flip_before), "round {round}");
            let count = |deed| play.steps.iter().filter(|step| step.deed == deed).count();
            assert_eq!(count(Deed::Stop), count(Deed::Continue), "round {round}");
            assert_eq!(count(Deed::Stop) > 0, scene == Scene::Stopped, "round {round}");
        }
    }
}
