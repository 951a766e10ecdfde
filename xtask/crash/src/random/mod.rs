//! `cargo xtask crash --random`: rounds of clients, balancer and workers in which anything is killed, stopped
//! and continued at any moment, and started again as a person would. In half of the rounds workers have a COMMAND,
//! which meets the same, and is unruly by itself. All decisions come from one seed.

pub(crate) mod check;
pub(crate) mod client;
mod letters;
pub(crate) mod log;
pub(crate) mod pick;
pub(crate) mod plan;
pub(crate) mod round;
pub(crate) mod stage;
pub(crate) mod tally;
mod work;
mod work_check;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tests::Binaries;

use crate::findings::Findings;
use crate::{lanes, rounds};
use plan::RoundPlan;
use tally::{Count, Tally};

/// Rounds at a time: a process that waits in one leaves the processor to the others.
const LANES: usize = 3;
/// How many rounds, if nothing is said.
const ROUNDS: u64 = 1000;
/// How often it is said how many there were.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Random faults.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Kill, stop and continue anything at any moment, in many rounds.
    #[arg(long)]
    pub(crate) random: bool,
}

pub(crate) fn run(rounds: &rounds::Args, programs: &Binaries) -> Result<bool, String> {
    let (seed, rounds) = rounds.begin(ROUNDS);
    let plans = rounds.map(|round| RoundPlan::draw(seed, round));
    let (mut total, mut findings) = (Tally::default(), Findings::default());
    let mut told = Instant::now();
    lanes::play_all(
        LANES,
        plans,
        |plan| round::run(programs, plan),
        |plan, played| match played {
            Ok(tally) => {
                total.add(&tally);
                if told.elapsed() > TOLD_EVERY {
                    told = Instant::now();
                    common::tell!("{} rounds", total.counts.of(Count::Rounds));
                }
                ControlFlow::Continue(())
            }
            Err(violation) => {
                findings.add(rounds::finding("--random", &plan, violation));
                ControlFlow::Break(())
            }
        },
    );
    if findings.go_on().is_continue() && total.counts.of(Count::Rounds) == 0 {
        findings.blind("no round was run");
    }
    // After Ctrl-C, too.
    crate::print(&format!("{total}\nseed {seed}\n"))?;
    findings.conclude("", None)
}
