//! One point, as a failure names it.

use std::fmt::Write as _;

use tests::Binaries;

use super::point::{Moment, Point, Strike};
use super::steps::Steps;
use super::task::{self, Task};
use crate::findings::Findings;

/// A replayed point is tried more often than one of many.
const TRIES: u32 = 50;

/// Plays one point until its strikes were reached. Returns whether no contract was broken.
pub(crate) fn replay(point: &Point, programs: &Binaries) -> Result<bool, String> {
    let played = task::undisturbed(point.scenario, programs).and_then(|oracle| {
        let task = Task { oracle: &oracle, point: point.clone() };
        task.play(programs, TRIES).map(|played| (task.is_reached(&played), played))
    });
    let mut findings = Findings::default();
    let mut text = String::new();
    match played {
        Err(violation) => findings.add(point.finding(violation)),
        Ok((false, _)) => findings.blind(format!("{point}: the process ended before")),
        Ok((true, played)) => {
            for (strike, steps) in point.strikes.iter().zip(&played.steps) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{}", what_was_done(strike, steps));
            }
            for role in &played.failed {
                let how = "ended with an error, and what it had left was done by the same command";
                let _ = writeln!(text, "{role} {how}");
            }
            text += "the log is that of an undisturbed run, and nothing is left\n";
        }
    }
    findings.conclude(&text, None)
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
