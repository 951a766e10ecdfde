//! What `--durable` costs, as ratios within one run: with and without it by turns, medians.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::super::limited::run_free;
use super::super::{Failure, Setting};

const TURNS: usize = 9;

pub(in super::super) fn cost(setting: &Setting<'_>) -> Result<String, Failure> {
    let single = ratio(setting, |setting, durable| Ok(acceptances(setting, durable, 20, 1)))?;
    let batch = ratio(setting, |setting, durable| Ok(acceptances(setting, durable, 1, 20_000)))?;
    let session = ratio(setting, session)?;
    Ok(format!(
        "times with and without: 20 clients of one submission each {single}; one client with 20000 on standard \
         input {batch}; the balancer's session of 1000000 messages {session}"
    ))
}

/// Measures with and without the flag by turns.
fn ratio(
    setting: &Setting<'_>,
    measure: impl Fn(&Setting<'_>, bool) -> Result<Duration, String>,
) -> Result<String, String> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.push(measure(setting, false)?);
        with.push(measure(setting, true)?);
    }
    let (with, without) = (median(with), median(without));
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(format!("{ratio:.2} ({:.1} ms / {:.1} ms)", milliseconds(with), milliseconds(without)))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The time of clients, one after the other, until everything of each is accepted.
fn acceptances(
    setting: &Setting<'_>,
    durable: bool,
    clients: usize,
    submissions: usize,
) -> Duration {
    let sandbox = setting.sandbox();
    let args: &[&str] = if durable { &["--quiet", "--durable"] } else { &["--quiet"] };
    let mut input = String::new();
    for number in 0..submissions {
        // Writing to a String cannot fail.
        let _ = writeln!(input, "submission {number};1");
    }
    let start = Instant::now();
    for _ in 0..clients {
        let mut client = sandbox.start_with_input("client", args, input.as_bytes());
        sandbox.assert_code(&sandbox.end(&mut client), 0);
    }
    start.elapsed()
}

fn session(setting: &Setting<'_>, durable: bool) -> Result<Duration, String> {
    let sandbox = setting.sandbox();
    run_free(&sandbox, "client", &["Halo A;1000000"])?;
    let start = Instant::now();
    let args: &[&str] = if durable { &["--durable", "3"] } else { &["3"] };
    run_free(&sandbox, "loadbalancer", args)?;
    Ok(start.elapsed())
}
