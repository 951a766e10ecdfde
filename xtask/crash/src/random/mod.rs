//! `cargo xtask crash --random`: rounds of clients, balancer and workers in which anything is killed, stopped
//! and continued at any moment, and started again as a person would. In half of the rounds workers have a COMMAND,
//! which meets the same, and is unruly by itself. All decisions come from one seed.

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod evidence;
mod letters;
pub(crate) mod log;
pub(crate) mod pick;
pub(crate) mod plan;
pub(crate) mod round;
pub(crate) mod stage;
pub(crate) mod tally;
mod work;
mod work_check;

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tests::Binaries;

use crate::rounds::{self, Rounds};
use plan::RoundPlan;
use tally::Tally;

/// Rounds at a time: a process that waits in one leaves the processor to the others.
const LANES: u64 = 3;
/// How many rounds, if nothing is said.
const ROUNDS: u64 = 1000;

/// Random faults.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Kill, stop and continue anything at any moment, in many rounds.
    #[arg(long)]
    pub(crate) random: bool,
}

pub(crate) fn run(rounds: &rounds::Args, programs: &Binaries) -> Result<bool, String> {
    let run =
        Run { rounds: rounds.begin(ROUNDS), total: Mutex::new((Tally::default(), Instant::now())) };
    thread::scope(|scope| {
        for _ in 0..LANES.min(run.rounds.number) {
            scope.spawn(|| run.lane(programs));
        }
    });
    let (tally, _) = run.total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    crate::print(&format!("{tally}\n"))?;
    let failed = run.rounds.is_stopped();
    if !failed && tally.rounds == 0 {
        common::tell!("no round was run");
        return Ok(false);
    }
    if !failed {
        crate::print(&format!("no violation; seed {}\n", run.rounds.seed))?;
    }
    Ok(!failed)
}

struct Run {
    rounds: Rounds,
    /// And when it was last told.
    total: Mutex<(Tally, Instant)>,
}

impl Run {
    fn lane(&self, binaries: &Binaries) {
        let seed = self.rounds.seed;
        while let Some(round) = self.rounds.next() {
            match round::run(binaries, &RoundPlan::draw(seed, round)) {
                Ok(tally) => self.count(&tally),
                Err(violation) => {
                    self.rounds.stop();
                    let told = crate::print(&format!(
                        "VIOLATION in round {round} of seed {seed}: {violation}\n\
                         the same decisions again: cargo xtask crash --random --seed {seed} --round {round}\n"
                    ));
                    if let Err(why) = told {
                        common::tell!("crash: {why}");
                    }
                }
            }
        }
    }

    fn count(&self, tally: &Tally) {
        let mut total = self.total.lock().expect("a lane panicked");
        total.0.add(tally);
        if total.1.elapsed() > Duration::from_secs(10) {
            total.1 = Instant::now();
            common::tell!("{} rounds", total.0.rounds);
        }
    }
}
