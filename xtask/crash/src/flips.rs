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

use std::sync::Mutex;
use std::thread;

use tests::Binaries;

use plan::FlipPlan;
use report::Report;

use crate::{is_interrupted, rounds};

/// Rounds at a time: most of them wait for a moment.
const LANES: u64 = 4;
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
    let rounds = rounds.begin(ROUNDS);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..LANES.min(rounds.number) {
            scope.spawn(|| {
                while let Some(round) = rounds.next() {
                    let plan = FlipPlan::draw(rounds.seed, round);
                    let played = session::play(programs, &plan);
                    if is_interrupted() {
                        return; // everyone in it may have got the same Ctrl-C
                    }
                    let mut report =
                        report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report.played(&plan, &played);
                }
            });
        }
    });
    if is_interrupted() {
        return Ok(false);
    }
    let report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    crate::print(&format!("{report}\n"))?;
    Ok(report.passed())
}
