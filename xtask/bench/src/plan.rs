//! Which cases and how many repetitions: a small set for CI, the default within five minutes, and the
//! full one.

use std::time::Duration;

use common::rotation::{WorkerNumberError, Workers};

use super::case::{Case, Shape};
use super::work::{Contestant, Race, Task};

/// Logs above this are left out of the cross product.
const LOG_LEN_MAX: u64 = 2_000_000_000;

/// How much is measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) cases: Vec<Case>,
    pub(super) latency_messages: u32,
    pub(super) memory: Vec<Case>,
    pub(super) system_calls: Case,
    pub(super) idle_span: Duration,
    pub(super) startup_rounds: usize,
    pub(super) work: Vec<Race>,
    /// N where it is not varied.
    pub(super) workers: Workers,
}

/// One dimension is varied at a time, around 6 bytes and 3 workers.
struct Dimensions<'a> {
    messages: &'a [u32],
    text_lens: &'a [usize],
    workers: &'a [u32],
    /// How many where the text is varied.
    usual_messages: u32,
    /// How many where N is varied: of two, the difference is what a message costs without start-up.
    messages_by_workers: &'a [u32],
    singles: u32,
}

const TEXT_LEN: usize = 6;
const WORKERS: u32 = 3;

impl Dimensions<'_> {
    fn one_at_a_time(&self) -> Result<Vec<Case>, WorkerNumberError> {
        let n = Workers::new(WORKERS)?;
        let by_count = self.messages.iter().map(|&messages| Ok(Case::many(messages, TEXT_LEN, n)));
        let by_len = self.text_lens.iter().map(|&len| Ok(Case::many(self.usual_messages, len, n)));
        let by_workers = self.messages_by_workers.iter().flat_map(|&messages| {
            let case = move |&n| Ok(Case::many(messages, TEXT_LEN, Workers::new(n)?));
            self.workers.iter().map(case)
        });
        let singles = Case { shape: Shape::Singles, ..Case::many(self.singles, TEXT_LEN, n) };
        by_count.chain(by_len).chain(by_workers).chain([Ok(singles)]).collect()
    }
}

/// How many messages there are where a COMMAND works.
struct Jobs<'a> {
    once: u32,
    /// Of those, GNU parallel gets so many.
    parallel: u32,
    lines: u32,
    /// By N: how many each worker has to sleep in, with a process for each message and with `--lines`.
    naps: &'a [(u32, u32, &'a [u32])],
}

fn races(jobs: &Jobs<'_>) -> Result<Vec<Race>, WorkerNumberError> {
    let race = |task, n, contestants: &[_]| {
        Ok(Race { task, workers: Workers::new(n)?, contestants: contestants.to_vec() })
    };
    let [ours, xargs, pipes] = [Contestant::Ours, Contestant::Xargs, Contestant::Pipes];
    let once = [(ours, jobs.once), (xargs, jobs.once), (Contestant::Parallel, jobs.parallel)];
    let lines = [(ours, jobs.lines), (pipes, jobs.lines)];
    let mut races = vec![race(Task::True, WORKERS, &once), race(Task::Answer, WORKERS, &lines)];
    for &(n, once, lines) in jobs.naps {
        races.push(race(Task::Sleep, n, &[(ours, n * once), (xargs, n * once)]));
        for &lines in lines {
            races.push(race(Task::Sleeper, n, &[(ours, n * lines), (pipes, n * lines)]));
        }
    }
    races.into_iter().collect()
}

impl Plan {
    /// A few seconds.
    pub(super) fn quick() -> Result<Self, WorkerNumberError> {
        let dimensions = Dimensions {
            messages: &[1_000, 10_000],
            text_lens: &[64],
            workers: &[1],
            usual_messages: 10_000,
            messages_by_workers: &[1_000, 10_000],
            singles: 1_000,
        };
        let workers = Workers::new(WORKERS)?;
        Ok(Self {
            cases: dimensions.one_at_a_time()?,
            latency_messages: 180,
            memory: vec![Case::many(10_000, TEXT_LEN, workers)],
            system_calls: Case::many(10_000, TEXT_LEN, workers),
            idle_span: Duration::from_secs(1),
            startup_rounds: 5,
            work: races(&Jobs { once: 60, parallel: 10, lines: 10_000, naps: &[(3, 10, &[10])] })?,
            workers,
        })
    }

    /// Each dimension by itself.
    pub(super) fn usual() -> Result<Self, WorkerNumberError> {
        let dimensions = Dimensions {
            messages: &[10_000, 100_000, 1_000_000, 10_000_000],
            text_lens: &[64, 1024],
            workers: &[1, 2, 16, 64, 256],
            usual_messages: 1_000_000,
            messages_by_workers: &[1_000_000, 10_000_000],
            singles: 100_000,
        };
        let workers = Workers::new(WORKERS)?;
        let many = |messages| Case::many(messages, TEXT_LEN, workers);
        Ok(Self {
            cases: dimensions.one_at_a_time()?,
            latency_messages: 2_700,
            memory: vec![
                many(10_000),
                many(10_000_000),
                Case { shape: Shape::Singles, ..many(100_000) },
                Case::many(1_000_000, TEXT_LEN, Workers::new(256)?),
            ],
            system_calls: many(1_000_000),
            idle_span: Duration::from_secs(3),
            startup_rounds: 20,
            work: races(&Jobs {
                once: 3_000,
                parallel: 300,
                lines: 1_000_000,
                // For 64 workers 10^4 and four times as many: what the start of all processes takes weighs less then.
                naps: &[(3, 100, &[100]), (16, 60, &[625]), (64, 20, &[156, 625])],
            })?,
            workers,
        })
    }

    /// The usual, 10^8 messages (a log of 7 GB), and all combinations.
    pub(super) fn full() -> Result<Self, WorkerNumberError> {
        let mut plan = Self::usual()?;
        // Some ten thousand each time.
        let naps = &[(3, 3_333, &[3_333][..]), (16, 625, &[625]), (64, 156, &[156, 625])];
        plan.work = races(&Jobs { once: 10_000, parallel: 3_000, lines: 10_000_000, naps })?;
        plan.cases.push(Case::many(100_000_000, TEXT_LEN, plan.workers));
        for messages in [10_000, 1_000_000, 10_000_000] {
            for text_len in [6, 64, 1024] {
                for n in [1, 3, 16] {
                    let case = Case::many(messages, text_len, Workers::new(n)?);
                    if case.log_len() <= LOG_LEN_MAX && !plan.cases.contains(&case) {
                        plan.cases.push(case);
                    }
                }
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_plan_has_every_combination_whose_log_is_not_too_long_once() {
        let cases = Plan::full().unwrap().cases;
        let log_len =
            |messages, len, n| Case::many(messages, len, Workers::new(n).unwrap()).log_len();
        for (messages, len) in [(10_000, 1024), (1_000_000, 1024), (10_000_000, 64)] {
            for n in [1, 3, 16] {
                let found = cases.iter().filter(|case| {
                    (case.messages, case.text_len, case.workers.get()) == (messages, len, n)
                        && case.shape == Shape::Many
                });
                assert_eq!(found.count(), 1, "{messages} {len} {n}: {}", log_len(messages, len, n));
            }
        }
        assert!(!cases.contains(&Case::many(10_000_000, 1024, Workers::new(3).unwrap())));
    }
}
