//! One case, all contestants, round after round: each round runs everyone once, so that whatever the
//! machine does in these seconds hits all of them alike; and what is compared is compared within a
//! round. The first round is a rehearsal that counts for nothing, and each
//! round's files are removed before the next.

use indicatif::ProgressBar;
use serde::Serialize;
use tests::{Binaries, Sandbox};

use super::case::{Case, Shape};
use super::contestant::Contestant;
use super::failure::Failure;
use super::job::Job;
use super::rivals::Rivals;
use super::spread::Spread;
use super::texts::Lens;
use super::{baseline, limit, page_cache};

/// How fast a contestant was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub(super) contestant: Contestant,
    /// How many messages it was given.
    pub(super) messages: u32,
    pub(super) seconds: Spread,
    pub(super) ns_per_message: Spread,
    pub(super) messages_per_second: Spread,
}

/// What came out of a case.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CaseResult {
    pub(super) messages: u32,
    pub(super) text_bytes: Lens,
    pub(super) workers: u32,
    #[serde(flatten)]
    pub(super) shape: Shape,
    pub(super) log_bytes: u64,
    /// Every log of every round was judged, and right.
    pub(super) verified: bool,
    /// Of those who are installed.
    pub(super) scores: Vec<Score>,
    /// The limit's time by ours, round by round.
    pub(super) of_limit: Spread,
    /// Share of a core that the limit's process had while it was timed, round by round. Much below 1,
    /// the machine was busy and the ratios mean nothing.
    pub(super) limit_cpu_share: Spread,
    /// Line at a time's time per message by ours, round by round.
    pub(super) times_line_at_a_time: Option<Spread>,
    /// The pipes' time per message by ours, round by round.
    pub(super) times_pipes: Option<Spread>,
    #[serde(skip)]
    pub(super) case: Case,
}

impl CaseResult {
    /// Whether someone else wanted the processor: that favours our several processes.
    pub(super) fn is_disturbed(&self) -> bool {
        self.limit_cpu_share.median < CPU_SHARE_MIN || self.of_limit.median > 1.0
    }

    pub(super) fn score(&self, contestant: Contestant) -> Option<&Score> {
        self.scores.iter().find(|score| score.contestant == contestant)
    }
}

/// Less of a core than this for the limit, and ratios are void.
const CPU_SHARE_MIN: f64 = 0.9;

/// Most workers that the baselines are run with.
const BASELINE_WORKERS_MAX: u32 = 16;

/// Who takes part in a case.
fn contestants(case: &Case, rivals: &Rivals) -> Vec<Contestant> {
    let baselines = case.workers.get() <= BASELINE_WORKERS_MAX;
    let takes_part = |contestant: &Contestant| match contestant {
        Contestant::Limit | Contestant::Ours => true,
        Contestant::RawQueue | Contestant::LineAtATime => baselines,
        rival => rivals.has(*rival),
    };
    let all: &[_] = match case.shape {
        Shape::Many => &Contestant::AT_MANY,
        Shape::Lines { .. } => &Contestant::AT_LINES,
    };
    all.iter().copied().filter(takes_part).collect()
}

/// Runs a case so many times and once more before.
pub(super) fn run(
    case: Case,
    rounds: usize,
    binaries: &Binaries,
    rivals: &Rivals,
    progress: &ProgressBar,
) -> Result<CaseResult, Failure> {
    let contestants = contestants(&case, rivals);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); contestants.len()];
    let mut cpu_shares = Vec::new();
    for round in 0..=rounds {
        progress.set_message(format!("{case}, round {round} of {rounds}"));
        let sandbox = Sandbox::new(binaries);
        page_cache::leave_pages(&sandbox.dir(), case.log_len())
            .map_err(Failure::system("a temp file"))?;
        let ours = Job::new(&sandbox, case)?.run()?;
        for (contestant, times) in contestants.iter().zip(&mut times) {
            let part = Case { messages: case.messages.min(contestant.messages_max()), ..case };
            let took = match contestant {
                Contestant::Ours => ours,
                Contestant::Limit => {
                    let limit = limit::run(&sandbox.log_path())?;
                    if round > 0 {
                        cpu_shares.push(limit.cpu_share());
                    }
                    limit.took
                }
                Contestant::RawQueue => baseline::run(&part, false, binaries)?,
                Contestant::LineAtATime => baseline::run(&part, true, binaries)?,
                Contestant::Pipes | Contestant::ZeroMq | Contestant::Redis => {
                    rivals.run(*contestant, &part, &sandbox)?
                }
            };
            if round > 0 {
                times.push(took.as_secs_f64() / f64::from(part.messages));
            }
        }
        progress.inc(1);
    }
    Ok(result(case, &contestants, &times, &cpu_shares))
}

/// Sums up seconds per message, given by contestant and round.
fn result(
    case: Case,
    contestants: &[Contestant],
    times: &[Vec<f64>],
    cpu_shares: &[f64],
) -> CaseResult {
    let of = |contestant| contestants.iter().position(|c| *c == contestant).map(|i| &times[i]);
    let by_ours = |contestant| Some(Spread::of_ratios(of(contestant)?, of(Contestant::Ours)?));
    let scores = contestants.iter().zip(times).map(|(&contestant, times)| {
        let messages = case.messages.min(contestant.messages_max());
        Score {
            contestant,
            messages,
            seconds: Spread::of(times.iter().map(|each| each * f64::from(messages))),
            ns_per_message: Spread::of(times.iter().map(|each| each * 1e9)),
            messages_per_second: Spread::of(times.iter().map(|each| each.recip())),
        }
    });
    CaseResult {
        messages: case.messages,
        text_bytes: case.lens,
        workers: case.workers.get(),
        shape: case.shape,
        log_bytes: case.log_len(),
        verified: true,
        scores: scores.collect(),
        of_limit: by_ours(Contestant::Limit).unwrap_or_else(|| Spread::of([])),
        limit_cpu_share: Spread::of(cpu_shares.iter().copied()),
        times_line_at_a_time: by_ours(Contestant::LineAtATime),
        times_pipes: by_ours(Contestant::Pipes),
        case,
    }
}
