//! Which cases and how many repetitions: a small set for CI, the default within five minutes, and the
//! full one.

use std::time::Duration;

use common::grammar::rotation::Workers;

use super::case::Case;
use super::texts::Lens;
use super::work::{Contestant, Race, Task};

/// Logs above this are left out of the cross product.
const LOG_LEN_MAX: u64 = 2_000_000_000;

/// How much is measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// One submission of many messages.
    pub(super) cases: Vec<Case>,
    /// Files of lines.
    pub(super) lines: Vec<Case>,
    pub(super) latency_messages: u32,
    pub(super) memory: Vec<Case>,
    pub(super) system_calls: Case,
    pub(super) idle_span: Duration,
    pub(super) startup_rounds: usize,
    pub(super) watched: Case,
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
}

const TEXT_LEN: usize = 6;
/// Where each message has a text of its own.
const LENS: Lens = Lens { min: 6, max: 12 };
/// So many where several clients submit at once.
const CLIENTS: u32 = 8;
const WORKERS: u32 = 3;

fn workers(n: u32) -> Workers {
    Workers::new(n).expect("from 1 to 256")
}

impl Dimensions<'_> {
    fn one_at_a_time(&self) -> Vec<Case> {
        let n = workers(WORKERS);
        let by_count = self.messages.iter().map(|&messages| Case::many(messages, TEXT_LEN, n));
        let by_len = self.text_lens.iter().map(|&len| Case::many(self.usual_messages, len, n));
        let by_workers = self.messages_by_workers.iter().flat_map(|&messages| {
            self.workers.iter().map(move |&n| Case::many(messages, TEXT_LEN, workers(n)))
        });
        by_count.chain(by_len).chain(by_workers).collect()
    }
}

/// Files of lines, likewise: so many messages, those with longer texts, the usual file for N workers, and by [`CLIENTS`]
/// from the usual one on.
fn lines(
    messages: &[u32],
    usual: u32,
    longer: &[(u32, usize)],
    numbers_of_workers: &[u32],
) -> Vec<Case> {
    let n = workers(WORKERS);
    let by_count = messages.iter().map(|&messages| Case::lines(messages, LENS, n));
    let by_len = longer.iter().map(|&(messages, len)| Case::lines(messages, Lens::exactly(len), n));
    let by_workers = numbers_of_workers.iter().map(|&n| Case::lines(usual, LENS, workers(n)));
    let at_once = messages.iter().filter(|&&messages| messages >= usual);
    let at_once = at_once.map(|&messages| Case::lines(messages, LENS, n).by(CLIENTS));
    by_count.chain(by_len).chain(by_workers).chain(at_once).collect()
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

fn races(jobs: &Jobs<'_>) -> Vec<Race> {
    let race = |task, n, contestants: &[_]| Race {
        task,
        workers: workers(n),
        contestants: contestants.to_vec(),
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
    races
}

impl Plan {
    /// A few seconds.
    pub(super) fn quick() -> Self {
        let dimensions = Dimensions {
            messages: &[1_000, 10_000],
            text_lens: &[64],
            workers: &[1],
            usual_messages: 10_000,
            messages_by_workers: &[1_000, 10_000],
        };
        let three = workers(WORKERS);
        Self {
            cases: dimensions.one_at_a_time(),
            lines: lines(&[10_000], 10_000, &[], &[]),
            latency_messages: 180,
            memory: vec![Case::many(10_000, TEXT_LEN, three)],
            system_calls: Case::many(10_000, TEXT_LEN, three),
            idle_span: Duration::from_secs(1),
            startup_rounds: 5,
            watched: Case::many(10_000, TEXT_LEN, three),
            work: races(&Jobs { once: 60, parallel: 10, lines: 10_000, naps: &[(3, 10, &[10])] }),
            workers: three,
        }
    }

    /// Each dimension by itself.
    pub(super) fn usual() -> Self {
        let dimensions = Dimensions {
            messages: &[10_000, 100_000, 1_000_000, 10_000_000],
            text_lens: &[64, 1024],
            workers: &[1, 2, 16, 64, 256],
            usual_messages: 1_000_000,
            messages_by_workers: &[1_000_000, 10_000_000],
        };
        let three = workers(WORKERS);
        let many = |messages| Case::many(messages, TEXT_LEN, three);
        Self {
            cases: dimensions.one_at_a_time(),
            lines: lines(
                &[100_000, 1_000_000, 10_000_000],
                1_000_000,
                // 10^6 with 1024 bytes would be a log of 2.1 GB.
                &[(1_000_000, 64), (100_000, 1024)],
                &[1, 16],
            ),
            latency_messages: 2_700,
            memory: vec![
                many(10_000),
                many(10_000_000),
                Case::lines(100_000, LENS, three),
                Case::many(1_000_000, TEXT_LEN, workers(256)),
            ],
            system_calls: many(1_000_000),
            idle_span: Duration::from_secs(3),
            startup_rounds: 20,
            watched: many(10_000_000),
            work: races(&Jobs {
                once: 3_000,
                parallel: 300,
                lines: 1_000_000,
                // For 64 workers 10^4 and four times as many: what the start of all processes takes weighs less then.
                naps: &[(3, 100, &[100]), (16, 60, &[625]), (64, 20, &[156, 625])],
            }),
            workers: three,
        }
    }

    /// The usual, 10^8 messages (a log of 7 GB), and all combinations.
    pub(super) fn full() -> Self {
        let mut plan = Self::usual();
        // Some ten thousand each time.
        let naps = &[(3, 3_333, &[3_333][..]), (16, 625, &[625]), (64, 156, &[156, 625])];
        plan.work = races(&Jobs { once: 10_000, parallel: 3_000, lines: 10_000_000, naps });
        plan.cases.push(Case::many(100_000_000, TEXT_LEN, plan.workers));
        for messages in [10_000, 1_000_000, 10_000_000] {
            for text_len in [6, 64, 1024] {
                for n in [1, 3, 16] {
                    push_unless_too_long(
                        &mut plan.cases,
                        Case::many(messages, text_len, workers(n)),
                    );
                }
            }
        }
        for messages in [100_000, 1_000_000, 10_000_000] {
            for lens in [LENS, Lens::exactly(64), Lens::exactly(1024)] {
                for n in [1, 3, 16] {
                    for clients in [1, CLIENTS] {
                        let case = Case::lines(messages, lens, workers(n)).by(clients);
                        push_unless_too_long(&mut plan.lines, case);
                    }
                }
            }
        }
        plan
    }
}

/// Neither twice.
fn push_unless_too_long(cases: &mut Vec<Case>, case: Case) {
    if case.log_len() <= LOG_LEN_MAX && !cases.contains(&case) {
        cases.push(case);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_plan_has_every_combination_whose_log_is_not_too_long_once() {
        let cases = Plan::full().cases;
        let log_len = |messages, len, n| Case::many(messages, len, workers(n)).log_len();
        for (messages, len) in [(10_000, 1024), (1_000_000, 1024), (10_000_000, 64)] {
            for n in [1, 3, 16] {
                let found =
                    cases.iter().filter(|case| **case == Case::many(messages, len, workers(n)));
                assert_eq!(found.count(), 1, "{messages} {len} {n}: {}", log_len(messages, len, n));
            }
        }
        let three = workers(3);
        assert!(!cases.contains(&Case::many(10_000_000, 1024, three)));
        let lines = Plan::full().lines;
        let once = |messages, len| {
            let case = Case::lines(messages, Lens::exactly(len), three);
            lines.iter().filter(|other| **other == case).count()
        };
        assert_eq!([once(100_000, 1024), once(1_000_000, 1024), once(1_000_000, 64)], [1, 0, 1]);
    }
}
