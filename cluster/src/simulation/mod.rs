//! The protocol in bad weather: the very code of client, balancer and holder against a stream in memory, on a clock that
//! does not wait, with calls that are lost, late, unanswered or answered by somebody who does not know the newest; with
//! kills, hosts that are cut off, and two that want one number. A schedule is drawn from a seed.

mod facts;
mod memory;
mod play;
mod verdict;

use rstest::rstest;

use memory::Weather;
use play::Play;

/// Schedules of each weather.
const SCHEDULES: u64 = 400;

const FAIR: Weather = Weather { lost: 0, late: 0, unanswered: 0, stale: 0, delay_max_ms: 5 };
const GUSTS: Weather = Weather { lost: 2, late: 3, unanswered: 3, stale: 3, delay_max_ms: 50 };
const STORM: Weather = Weather { lost: 8, late: 12, unanswered: 12, stale: 12, delay_max_ms: 1500 };

/// A schedule that fails is played alone by `SEED=N cargo test -p cluster simulation`.
#[rstest]
#[case::fair(FAIR, 0)]
#[case::gusts(GUSTS, 1)]
#[case::storm(STORM, 2)]
fn every_schedule_comes_to_the_same_log(#[case] weather: Weather, #[case] kind: u64) {
    common::program::say::be_quiet();
    let alone = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = alone.map_or(0..SCHEDULES, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = runtime.block_on(Play::new(seed << 2 | kind, weather).run());
        if let Err(why) = outcome {
            panic!("seed {seed} in {weather:?}: {why}");
        }
    }
}
