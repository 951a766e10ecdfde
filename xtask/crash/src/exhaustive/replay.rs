//! One point, as a failure names it.

use tests::Binaries;

use super::point::{Moment, Point, Strike};
use super::scenario::Scenario;
use super::steps::Steps;
use super::task::{self, Task};

/// A replayed point is tried more often than one of many.
const TRIES: u32 = 50;

/// Plays one point until its strikes were reached. Returns whether no contract was broken.
pub(crate) fn replay(point: &Point, programs: &Binaries) -> Result<bool, String> {
    let Some(scenario) = Scenario::named(&point.scenario) else {
        common::tell!("there is no scenario `{}`", point.scenario);
        return Ok(false);
    };
    let played = task::undisturbed(scenario, programs).map(|oracle| {
        let task = Task { scenario, oracle: &oracle, strikes: point.strikes.clone() };
        task.play(programs, TRIES).map(|played| (task.is_reached(&played), played))
    });
    match played {
        Err(what) => common::tell!("{what}"),
        Ok(Err(violation)) => task::tell(point, &violation),
        Ok(Ok((false, _))) => {
            common::tell!("{point} was never reached: the process ended before");
        }
        Ok(Ok((true, played))) => {
            let mut lines: Vec<String> = Vec::new();
            for (strike, steps) in point.strikes.iter().zip(&played.steps) {
                lines.push(what_was_done(strike, steps));
            }
            for role in &played.failed {
                lines.push(format!(
                    "{role} ended with an error, and what it had left was done by the same command"
                ));
            }
            lines.push("the log is that of an undisturbed run, and nothing is left\n".to_owned());
            crate::print(&lines.join("\n"))?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn what_was_done(strike: &Strike, steps: &Steps) -> String {
    if steps.outlived {
        return format!("a load balancer was replaced at {strike}");
    }
    if let Moment::Fails(error) = strike.moment {
        let what = if steps.has_failed() { ", and ended its process with an error" } else { "" };
        return format!("{} of {} has failed with {error}{what}", strike.at, strike.role);
    }
    let pending = steps.struck.is_some_and(|struck| struck.pending);
    let place = if pending { "inside a transaction" } else { "outside of any transaction" };
    format!("killed at {strike}, {place}")
}
