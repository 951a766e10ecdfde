//! Kills at every system call: of every process, in every scenario, also in the middle of a write to the
//! log, and again during the recovery.
//!
//! The unmodified programs are stepped with ptrace(2). Each point is a whole run in a directory of its
//! own: killed there, started again as a person would, and compared with an undisturbed run.

mod actor;
mod campaign;
pub(crate) mod made;
mod oracle;
mod plan;
pub(crate) mod play;
pub(crate) mod point;
mod replay;
mod report;
pub(crate) mod role;
pub(crate) mod scenario;
mod stepper;
pub(crate) mod steps;
mod successor;
pub(crate) mod task;
mod work;

use std::num::NonZeroUsize;

use tests::Binaries;

use campaign::Campaign;
use point::Point;
use scenario::{SCENARIOS, Scenario};

use crate::findings::Findings;

/// Kill at system calls.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Kill at every system call instead of a sample of them.
    #[arg(long, conflicts_with_all = ["errors", "elsewhere"])]
    all: bool,
    /// Only these scenarios.
    #[arg(long, value_name = "NAME", conflicts_with = "elsewhere", value_parser = known_scenario)]
    scenario: Vec<String>,
    /// Only this point, as a failure names it: SCENARIO:ROLE:N:MOMENT, or SCENARIO:ROLE:CALL#N:ERROR.
    #[arg(long, value_name = "POINT", conflicts_with_all = ["all", "scenario", "errors", "elsewhere", "json", "jobs"])]
    replay: Option<Point>,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "elsewhere")]
    pub(crate) json: bool,
    /// Points played at once.
    #[arg(long, value_name = "N", conflicts_with = "elsewhere", value_parser = at_least_one)]
    jobs: Option<usize>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let jobs: NonZeroUsize = text.parse().map_err(|error| format!("{error}"))?;
    Ok(jobs.get())
}

fn known_scenario(name: &str) -> Result<String, String> {
    Scenario::named(name).map(|known| known.name.to_owned()).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("the scenarios are {}", names.join(", "))
    })
}

impl Args {
    /// Asked for alone, without `--removed` and a sample of `--errors`.
    pub(crate) fn is_alone(&self) -> bool {
        self.all || self.json || self.replay.is_some() || !self.scenario.is_empty()
    }

    /// The scenarios that were asked for, or all.
    pub(crate) fn scenarios(&self) -> Vec<&'static Scenario> {
        let wanted = |scenario: &&Scenario| {
            self.scenario.is_empty() || self.scenario.iter().any(|name| name == scenario.name)
        };
        SCENARIOS.iter().filter(wanted).collect()
    }

    /// Points played at once.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.unwrap_or_else(task::default_jobs)
    }
}

/// Runs them. Returns whether no contract was broken.
pub(crate) fn run(args: &Args, programs: &Binaries) -> Result<bool, String> {
    if let Some(point) = &args.replay {
        return replay::replay(point, programs);
    }
    let (scenarios, thorough, jobs) = (args.scenarios(), args.all, args.jobs());
    let campaign = Campaign { scenarios, thorough, jobs, programs };
    campaign.run(Findings::default()).conclude(args.json)
}

/// The quick set, up to the first violation: what a sabotaged build must not survive.
pub(crate) fn first_violation(programs: &Binaries) -> Option<String> {
    let (scenarios, jobs) = (SCENARIOS.iter().collect(), task::default_jobs());
    let campaign = Campaign { scenarios, thorough: false, jobs, programs };
    campaign.run(Findings::brief()).findings.first()
}
