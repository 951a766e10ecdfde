//! `cargo xtask crash --errors`: each system call of each process fails once, with each error that it can have.
//!
//! The scenarios, the stepper and the judgement are those of the kills: a failing call is a point as a death is.
//! The call is not made; the process gets the error. Whatever it then does, the log ends as that of an
//! undisturbed run, or somebody ends with a clear error and the same command, given again, gets there. Calls
//! of the linker, the C library and the Rust runtime before main are left alone, and so are those of a child
//! of the load balancer before it has become a worker.

mod plan;
mod report;
pub(crate) mod table;

use tests::Binaries;

use plan::Candidate;
use report::Report;

use crate::exhaustive;
use crate::exhaustive::play::{self, Trace};
use crate::exhaustive::point::Point;
use crate::exhaustive::role::Role;
use crate::exhaustive::task::{self, Task};

/// Runs differ a little in their calls: so many are counted together.
const COUNTED_RUNS: u32 = 3;
/// … and for a sample.
const COUNTED_RUNS_OF_SAMPLE: u32 = 1;

/// Let system calls fail.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Let each system call fail, with each error that it can have.
    #[arg(long)]
    pub(crate) errors: bool,
    /// Only a sample of these, which holds each call of each program with each error once.
    #[arg(long, requires = "errors")]
    sample: bool,
}

impl Args {
    /// What runs where nothing was asked for.
    pub(crate) fn sample() -> Self {
        Self { errors: true, sample: true }
    }
}

/// Runs them. Returns whether no contract was broken.
pub(crate) fn run(args: &Args, of: &exhaustive::Args, programs: &Binaries) -> Result<bool, String> {
    let mut report = Report::default();
    let oracles = task::oracles(&of.scenarios(), programs, &mut report.findings);
    let runs = if args.sample { COUNTED_RUNS_OF_SAMPLE } else { COUNTED_RUNS };
    let mut candidates = Vec::new();
    for oracle in &oracles {
        let scenario = oracle.scenario;
        // Whatever goes wrong in a COMMAND is a failed attempt, which other scenarios have.
        let is_ours = |role: &Role| !matches!(role, Role::Handler(_));
        for role in scenario.roles().into_iter().filter(is_ours) {
            let trace = Trace { role, stop: None };
            let mut made = Vec::new();
            for _ in 0..runs {
                match play::play(scenario, programs, &[trace], Some(oracle)) {
                    Err(violation) => report.findings.failed(scenario.name, violation),
                    Ok(played) => made.extend(played.steps.into_iter().flat_map(|s| s.made)),
                }
            }
            report.counted(role, &made);
            candidates.extend(plan::candidates(scenario, role, &made));
        }
    }
    if args.sample {
        candidates = plan::sample(&candidates);
    }
    let task = |candidate: &Candidate| {
        let scenario = candidate.scenario;
        let oracle = oracles.iter().find(|oracle| oracle.scenario.name == scenario.name)?;
        Some(Task { oracle, point: Point { scenario, strikes: vec![candidate.strike()] } })
    };
    let tasks: Vec<Task<'_>> = candidates.iter().filter_map(task).collect();
    task::play_all(of.jobs(), &tasks, programs, |task, played| {
        report.tried(&task.point, played);
        report.findings.go_on()
    });
    report.conclude(of.json)
}
