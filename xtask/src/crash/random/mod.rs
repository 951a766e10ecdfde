//! `cargo xtask crash --random`: rounds of clients, balancer and workers in which anything is killed, stopped
//! and continued at any moment, and started again as a person would. All decisions come from one
//! seed.

mod check;
mod client;
mod evidence;
mod plan;
mod round;
mod stage;
mod tally;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::Binaries;

use plan::Plan;
use tally::Tally;

/// Rounds at a time: a process that waits in one leaves the processor to the others.
const LANES: u64 = 3;

/// Random faults.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Kill, stop and continue anything at any moment, in many rounds.
    #[arg(long)]
    pub(crate) random: bool,
    /// Draws the decisions of `--random`; the same seed draws the same ones.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How long to begin new rounds.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How many rounds; without it and without --for: 1000.
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// Only this round of the seed.
    #[arg(long, value_name = "R", requires = "seed", conflicts_with = "rounds")]
    round: Option<u64>,
}

pub(crate) fn run(args: &Args, programs: &Binaries) -> bool {
    let seed = args.seed.unwrap_or_else(drawn_seed);
    let first = args.round.unwrap_or(0);
    let number = match (args.round, args.rounds, args.duration) {
        (Some(_), ..) => 1,
        (None, Some(rounds), _) => rounds,
        (None, None, Some(_)) => u64::MAX - first,
        (None, None, None) => 1000,
    };
    eprintln!("seed {seed}");
    let run = Run {
        seed,
        next: AtomicU64::new(first),
        end: first + number,
        until: args.duration.map(|duration| Instant::now() + duration),
        failed: AtomicBool::new(false),
        total: Mutex::new((Tally::default(), Instant::now())),
    };
    thread::scope(|scope| {
        for _ in 0..LANES.min(number) {
            scope.spawn(|| run.lane(programs));
        }
    });
    let (tally, _) = run.total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{tally}");
    let failed = run.failed.into_inner();
    if !failed && tally.rounds == 0 {
        eprintln!("no round was run");
        return false;
    }
    if !failed {
        println!("no violation; seed {seed}");
    }
    !failed
}

struct Run {
    seed: u64,
    next: AtomicU64,
    end: u64,
    until: Option<Instant>,
    failed: AtomicBool,
    /// And when it was last told.
    total: Mutex<(Tally, Instant)>,
}

impl Run {
    fn lane(&self, binaries: &Binaries) {
        while !self.failed.load(Ordering::Relaxed)
            && self.until.is_none_or(|until| Instant::now() < until)
        {
            let round = self.next.fetch_add(1, Ordering::Relaxed);
            if round >= self.end {
                return;
            }
            match round::run(binaries, &Plan::draw(self.seed, round)) {
                Ok(tally) => self.count(&tally),
                Err(violation) => {
                    self.failed.store(true, Ordering::Relaxed);
                    let seed = self.seed;
                    println!(
                        "VIOLATION in round {round} of seed {seed}: {violation}\n\
                         the same decisions again: cargo xtask crash --random --seed {seed} --round {round}"
                    );
                }
            }
        }
    }

    fn count(&self, tally: &Tally) {
        let mut total = self.total.lock().expect("a lane panicked");
        total.0.add(tally);
        if total.1.elapsed() > Duration::from_secs(10) {
            total.1 = Instant::now();
            eprintln!("{} rounds", total.0.rounds);
        }
    }
}

/// Of the clock: it is printed, so that it can be given again.
fn drawn_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
}
