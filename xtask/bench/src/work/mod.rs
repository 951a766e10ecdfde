//! Work: a COMMAND for each message, or one that is kept (`--lines`), against other ways to have it done.
//!
//! | task | is | beside |
//! |---|---|---|
//! | `/bin/true` | what a process for each message costs | `xargs` and GNU `parallel`, which log nothing and keep no order |
//! | `--lines answer` | a handler that does hardly anything | such handlers at plain pipes ([`pipes`]) |
//! | `sleep 0.01` | processes that wait | `xargs`: to start many may be more than the processors can do |
//! | `--lines sleeper` | handlers that wait | such handlers at plain pipes |
//!
//! For the two that wait there is an ideal time: what one message takes, by the number of workers. For `sleep 0.01`
//! that is the median of some started alone, from the start to the end, before each round; for `sleeper` it is
//! the 10 ms that it sleeps. Everything that we or anybody else does beside is missing from the share of the ideal, the
//! start of balancer, workers and handlers, too: the fewer messages, the more that weighs.
//!
//! As in the [`super::contest`], a round runs everyone once, and what is compared is compared within a round.
//! GNU parallel gets fewer messages, since it takes milliseconds for each.

mod others;
mod ours;
pub(super) mod pipes;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::grammar::rotation::Workers;
use indicatif::ProgressBar;
use serde::Serialize;
use tests::Binaries;

use super::case::Case;
use super::failure::Failure;
use super::spread::Spread;
use ours::Handlers;

const TEXT_LEN: usize = 6;
/// What a message takes where it sleeps.
const NAP: Duration = Duration::from_millis(10);
/// The same as `sleep` reads it.
const NAP_SECONDS: &str = "0.01";
/// So often `sleep` is started alone, before each round.
const ALONE: usize = 11;

/// What is done with each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    True,
    Answer,
    Sleep,
    Sleeper,
}

/// Who has it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Contestant {
    Ours,
    Xargs,
    Parallel,
    Pipes,
}

/// A task, for so many workers, and how many messages each contestant gets.
#[derive(Clone, Debug)]
pub(super) struct Race {
    pub(super) task: Task,
    pub(super) workers: Workers,
    pub(super) contestants: Vec<(Contestant, u32)>,
}

/// What came out of all races.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Work {
    pub(super) races: Vec<RaceResult>,
    /// Who did not take part.
    pub(super) not_installed: Vec<Contestant>,
}

/// What came out of a race.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RaceResult {
    pub(super) task: Task,
    pub(super) workers: u32,
    /// What one message takes where nothing else is done, if there is such a thing.
    pub(super) alone_ms: Option<Spread>,
    pub(super) scores: Vec<Score>,
}

/// How fast a contestant was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub(super) contestant: Contestant,
    pub(super) messages: u32,
    pub(super) messages_per_second: Spread,
    /// How many times as fast ours was, round by round.
    pub(super) ours_by_this: Option<Spread>,
    /// The ideal time by this one's, round by round.
    pub(super) of_ideal: Option<Spread>,
}

impl Task {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::True => "/bin/true",
            Self::Answer => "--lines answer",
            Self::Sleep => "sleep 0.01",
            Self::Sleeper => "--lines sleeper",
        }
    }

    /// What one message takes, in seconds, where nothing else is done.
    fn alone(self) -> Result<Option<f64>, Failure> {
        match self {
            Self::True | Self::Answer => Ok(None),
            Self::Sleeper => Ok(Some(NAP.as_secs_f64())),
            Self::Sleep => {
                let naps: Result<Vec<_>, _> = (0..ALONE).map(|_| sleep_once()).collect();
                Ok(Some(Spread::of(naps?).median))
            }
        }
    }
}

impl Contestant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Xargs => "xargs",
            Self::Parallel => "GNU parallel",
            Self::Pipes => "pipes",
        }
    }
}

impl RaceResult {
    pub(super) fn score(&self, contestant: Contestant) -> Option<&Score> {
        self.scores.iter().find(|score| score.contestant == contestant)
    }
}

/// From the start to the end, in seconds.
fn sleep_once() -> Result<f64, Failure> {
    let start = Instant::now();
    let mut sleep = Command::new("sleep");
    let status = sleep.arg(NAP_SECONDS).stdin(Stdio::null()).status();
    status.map_err(Failure::system("sleep"))?;
    Ok(start.elapsed().as_secs_f64())
}

/// Runs each race so many times and once more before.
pub(super) fn run(
    races: &[Race],
    rounds: usize,
    binaries: &Binaries,
    progress: &ProgressBar,
) -> Result<Work, Failure> {
    let handlers = Handlers::build()?;
    let mut not_installed = vec![Contestant::Xargs, Contestant::Parallel];
    not_installed.retain(|&contestant| !others::is_installed(contestant));
    let mut results = Vec::new();
    for race in races {
        let mut race = race.clone();
        race.contestants.retain(|(contestant, _)| !not_installed.contains(contestant));
        results.push(race.run(rounds, binaries, &handlers, progress)?);
    }
    Ok(Work { races: results, not_installed })
}

impl Race {
    fn run(
        &self,
        rounds: usize,
        binaries: &Binaries,
        handlers: &Handlers,
        progress: &ProgressBar,
    ) -> Result<RaceResult, Failure> {
        // Seconds per message, by contestant and round.
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); self.contestants.len()];
        let mut alone = Vec::new();
        for round in 0..=rounds {
            let (task, n) = (self.task.name(), self.workers.get());
            progress.set_message(format!("{task}, N = {n}, round {round} of {rounds}"));
            let one = self.task.alone()?;
            for (&(contestant, messages), times) in self.contestants.iter().zip(&mut times) {
                let case = Case::many(messages, TEXT_LEN, self.workers);
                let took = match contestant {
                    Contestant::Ours => ours::run(self.task, &case, binaries, handlers)?,
                    Contestant::Pipes => pipes::time(&case, &self.task.command(handlers))?,
                    Contestant::Xargs => others::xargs(self.task, &case)?,
                    Contestant::Parallel => others::parallel(self.task, &case)?,
                };
                if round > 0 {
                    times.push(took.as_secs_f64() / f64::from(messages));
                }
            }
            alone.extend(one.filter(|_| round > 0));
            progress.inc(1);
        }
        Ok(self.result(&times, &alone))
    }

    fn result(&self, times: &[Vec<f64>], alone: &[f64]) -> RaceResult {
        let ours = self.contestants.iter().zip(times).find(|((c, _), _)| *c == Contestant::Ours);
        let ours = ours.map(|(_, times)| times);
        let has_ideal = !alone.is_empty();
        let workers = self.workers.get();
        let ideal: Vec<_> = alone.iter().map(|seconds| seconds / f64::from(workers)).collect();
        let scores = self.contestants.iter().zip(times).map(|(&(contestant, messages), times)| {
            let is_other = contestant != Contestant::Ours;
            Score {
                contestant,
                messages,
                messages_per_second: Spread::of(times.iter().map(|each| each.recip())),
                ours_by_this: ours.filter(|_| is_other).map(|ours| Spread::of_ratios(times, ours)),
                of_ideal: has_ideal.then(|| Spread::of_ratios(&ideal, times)),
            }
        });
        RaceResult {
            task: self.task,
            workers,
            alone_ms: has_ideal.then(|| Spread::of(alone.iter().map(|seconds| seconds * 1e3))),
            scores: scores.collect(),
        }
    }
}
