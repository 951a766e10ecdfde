//! `cargo xtask crash --flips`: one bit of the ledger is flipped under a running session. All decisions come
//! from one seed.
//!
//! Whatever the programs make of it, the log comes out right, or one of them ends with an error; and who then
//! follows what the error says finds everything that was accepted.

mod advice;
mod place;
mod plan;
mod recovery;
mod report;
mod session;
mod watch;

use std::ops::ControlFlow;

use tests::Binaries;

use plan::FlipPlan;
use report::Report;

use crate::{lanes, rounds};

/// Rounds at a time: most of them wait for a moment.
const LANES: usize = 4;
/// How many rounds, if nothing is said.
const ROUNDS: u64 = 300;

/// Flipped bits.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Flip a bit of the ledger under a running session, in many rounds.
    #[arg(long)]
    pub(crate) flips: bool,
}

pub(crate) fn run(rounds: &rounds::Args, programs: &Binaries) -> Result<bool, String> {
    let (seed, rounds) = rounds.begin(ROUNDS);
    let mut report = Report::default();
    let plans = rounds.map(|round| FlipPlan::draw(seed, round));
    lanes::play_all(
        LANES,
        plans,
        |plan| session::play(programs, plan),
        |plan, played| {
            report.played(&plan, played);
            ControlFlow::Continue(())
        },
    );
    report.conclude()
}
