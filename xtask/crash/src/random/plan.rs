//! What a round does: every decision, drawn from the seed before anything runs.

use std::fmt;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::pick::pick;
use super::work::Work;

/// A process of the round, whichever life of it is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Part {
    Client(usize),
    Balancer,
    /// Its number, from 1; spawned or started by hand.
    Worker(u32),
    /// One of COMMAND's processes: of those that there are, in turn.
    Handler(usize),
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display, strum::EnumIter)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Deed {
    /// Starts it, as a person would who sees that it is not running and still needed.
    Start,
    /// SIGKILL.
    Kill,
    /// SIGKILL, to a worker and the balancer at once.
    #[strum(to_string = "kill both")]
    KillBoth,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGTERM: the balancer drains.
    Drain,
}

/// One decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) pause: Duration,
    pub(crate) deed: Deed,
    pub(crate) part: Part,
}

/// How a client gets its submissions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Feed {
    Arguments,
    /// Through a pipe, with this pause after each line.
    Pipe(Duration),
}

/// What a client submits: text lengths and counts.
#[derive(Clone, Debug)]
pub(crate) struct Feeding {
    pub(crate) feed: Feed,
    pub(crate) durable: bool,
    pub(crate) submissions: Vec<(usize, u32)>,
}

/// A round.
#[derive(Clone, Debug)]
pub(crate) struct RoundPlan {
    pub(crate) seed: u64,
    pub(crate) round: u64,
    pub(crate) workers: u32,
    pub(crate) serve: bool,
    pub(crate) by_hand: bool,
    pub(crate) work: Option<Work>,
    pub(crate) clients: Vec<Feeding>,
    pub(crate) steps: Vec<Step>,
}

impl RoundPlan {
    /// The decisions of a round: a function of seed and round.
    pub(crate) fn draw(seed: u64, round: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(round);
        let workers = pick(&mut rng, &[(3, 1), (3, 2), (6, 3), (2, 5), (1, 16)]);
        let mut work = Work::draw(seed, round);
        let clients = (0..rng.random_range(1..=4)).map(|_| feeding(&mut rng, work)).collect();
        let mut plan = Self {
            seed,
            round,
            workers,
            serve: rng.random_ratio(1, 3),
            by_hand: rng.random_ratio(1, 3),
            work: None,
            clients,
            steps: Vec::new(),
        };
        if let Some(work) = &mut work {
            // What has neither the attempt's lock nor its environment is found only as long as its worker or the
            // balancer lives: see the README. So it is left only where the balancer is not killed.
            work.mood.bare &= !plan.by_hand;
        }
        plan.work = work;
        plan.steps = plan.draw_steps(&mut rng);
        plan
    }

    fn draw_steps(&self, rng: &mut ChaCha8Rng) -> Vec<Step> {
        let mut starts: Vec<Part> = (0..self.clients.len()).map(Part::Client).collect();
        starts.push(Part::Balancer);
        if self.by_hand {
            starts.extend((1..=self.workers).map(Part::Worker));
        }
        let mut steps = Vec::new();
        // The order of starting is free, and faults come in between.
        while !starts.is_empty() {
            let part = starts.swap_remove(rng.random_range(0..starts.len()));
            steps.push(Step { pause: self.pause(rng), deed: Deed::Start, part });
        }
        let most = if self.work.is_some() { 50 } else { 25 };
        for _ in 0..rng.random_range(2..=most) {
            let fault = self.draw_fault(rng);
            let at = place(rng, &steps, fault);
            steps.insert(at, fault);
            let killed: &[Part] = match fault.deed {
                Deed::KillBoth => &[Part::Balancer, fault.part],
                Deed::Kill if !matches!(fault.part, Part::Handler(_)) => &[fault.part],
                _ => &[],
            };
            for &part in killed {
                let again = rng.random_range(at + 1..=steps.len().min(at + 5));
                let step = Step { pause: self.pause(rng), deed: Deed::Start, part };
                steps.insert(again, step);
            }
        }
        steps
    }

    fn draw_fault(&self, rng: &mut ChaCha8Rng) -> Step {
        let client = Part::Client(rng.random_range(0..self.clients.len()));
        let worker = Part::Worker(rng.random_range(1..=self.workers));
        let drain = u32::from(self.serve);
        let work = u32::from(self.work.is_some());
        let spared = self.work.is_some_and(|work| work.mood.bare);
        let (kill, both) = if spared { (0, 0) } else { (8, 4 * work) };
        // Drawn only where it is used: other rounds are as they were.
        let handler = Part::Handler(if work == 1 { rng.random_range(0..8) } else { 0 });
        let (deed, part) = pick(
            rng,
            &[
                (6, (Deed::Kill, client)),
                (kill, (Deed::Kill, Part::Balancer)),
                (8, (Deed::Kill, worker)),
                (2, (Deed::Stop, client)),
                (3, (Deed::Stop, Part::Balancer)),
                (3, (Deed::Stop, worker)),
                (1, (Deed::Continue, client)),
                (2, (Deed::Continue, Part::Balancer)),
                (1, (Deed::Continue, worker)),
                (drain, (Deed::Drain, Part::Balancer)),
                (both, (Deed::KillBoth, worker)),
                (8 * work, (Deed::Kill, handler)),
                (3 * work, (Deed::Stop, handler)),
                (work, (Deed::Continue, handler)),
            ],
        );
        Step { pause: self.pause(rng), deed, part }
    }

    fn pause(&self, rng: &mut ChaCha8Rng) -> Duration {
        let mut pauses = [(2, 1), (4, 300), (6, 3_000), (1, 30_000)];
        if self.work.is_some() {
            // Work takes longer than messages that are only logged.
            pauses = [(2, 1), (4, 1_000), (6, 20_000), (1, 100_000)];
        }
        let most = pick(rng, &pauses);
        Duration::from_micros(rng.random_range(0..most))
    }

    /// How the balancer is called.
    pub(crate) fn balancer_args(&self) -> Vec<String> {
        let flags = [("--serve", self.serve), ("--no-spawn", self.by_hand)];
        let flags = flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag.to_owned());
        flags.chain([self.workers.to_string()]).collect()
    }
}

fn feeding(rng: &mut ChaCha8Rng, work: Option<Work>) -> Feeding {
    let pauses =
        [(3, Duration::ZERO), (1, Duration::from_micros(100)), (1, Duration::from_millis(1))];
    let feed =
        if rng.random_ratio(1, 2) { Feed::Arguments } else { Feed::Pipe(pick(rng, &pauses)) };
    let number = pick(rng, &[(4, 1), (4, 5), (2, 30), (1, 300)]);
    let most = work.map_or(u32::MAX, |work| work.messages_max());
    let number = rng.random_range(1..=number).min(most as usize);
    let submissions = (0..number)
        .map(|_| {
            let len = pick(rng, &[(6, 48), (2, 200), (1, 4096)]);
            let len = rng.random_range(40..=len);
            // A round is to be short: a few hundred KiB of log.
            let count = pick(rng, &[(5, 1), (5, 20), (2, 500), (1, 3000)]);
            let count = count.min(400_000 / (len + 30) / number + 1);
            let count = count.min((most as usize).div_ceil(number));
            (len, rng.random_range(1..=u32::try_from(count).unwrap_or(1)))
        })
        .collect();
    Feeding { feed, durable: rng.random_ratio(1, 20), submissions }
}

/// Where a fault goes among the steps: anywhere after the first; but most processes live so shortly
/// that half of the faults come right after a start of what they are to meet.
fn place(rng: &mut ChaCha8Rng, steps: &[Step], fault: Step) -> usize {
    let starts: Vec<usize> = (0..steps.len())
        .filter(|&at| steps[at].deed == Deed::Start && steps[at].part == fault.part)
        .collect();
    if starts.is_empty() || rng.random_ratio(1, 2) {
        rng.random_range(1..=steps.len())
    } else {
        starts[rng.random_range(0..starts.len())] + 1
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(index) => write!(f, "client {index}"),
            Self::Balancer => f.write_str("balancer"),
            Self::Worker(number) => write!(f, "worker {number}"),
            Self::Handler(turn) => write!(f, "handler {turn}"),
        }
    }
}

impl fmt::Display for RoundPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} round {}", self.seed, self.round)?;
        let by = if self.by_hand { "; workers by hand" } else { "" };
        let work = self.work.map_or_else(String::new, |work| format!(" {work}"));
        writeln!(f, "loadbalancer {}{work}{by}", self.balancer_args().join(" "))?;
        for (index, client) in self.clients.iter().enumerate() {
            let messages: u32 = client.submissions.iter().map(|(_, count)| count).sum();
            let durable = if client.durable { ", durable" } else { "" };
            writeln!(
                f,
                "client {index}: {} submissions, {messages} messages, {:?}{durable}",
                client.submissions.len(),
                client.feed
            )?;
        }
        for Step { pause, deed, part } in &self.steps {
            writeln!(f, "  +{:>6} us  {deed:?} {part}", pause.as_micros())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds;

    #[test]
    fn a_seed_draws_the_same_decisions_again() {
        rounds::assert_drawn_again(|seed, round| RoundPlan::draw(seed, round).to_string());
    }

    #[test]
    fn every_kill_is_followed_by_a_start() {
        for round in 0..200 {
            let steps = RoundPlan::draw(1, round).steps;
            let is_kill = |step: &Step| {
                matches!(step.deed, Deed::Kill | Deed::KillBoth)
                    && !matches!(step.part, Part::Handler(_))
            };
            for (at, step) in steps.iter().enumerate().filter(|(_, step)| is_kill(step)) {
                let again =
                    steps[at..].iter().any(|s| s.deed == Deed::Start && s.part == step.part);
                assert!(again, "round {round}: step {at}");
            }
        }
    }
}
