//! What must hold at the end of a round.

use std::collections::HashMap;

use super::log::read_log;
use super::stage::Stage;
use super::tally::Count;
use super::work_check;
use common::dead;

/// Everything accepted is there once; what is there was submitted; each client's are in its order,
/// without a gap; and nothing is left.
pub(crate) fn check(stage: &mut Stage<'_>) -> Result<(), String> {
    let log = read_log(stage.sandbox, stage.plan)?;
    // Where each submission of each life is in the log.
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, submission) in log.submissions.iter().enumerate() {
        if places.insert(submission.to_string(), place).is_some() {
            return Err(format!("twice in the log: {submission}"));
        }
    }
    for client in &stage.clients {
        let mut newest = None;
        for life in &client.lives {
            let accepted = life.accepted()?;
            let mut missing = None;
            for (number, (_, submission)) in life.given.iter().enumerate() {
                let Some(place) = places.remove(&submission.to_string()) else {
                    if number < accepted {
                        return Err(format!("accepted, but not in the log: {submission}"));
                    }
                    missing.get_or_insert(submission);
                    continue;
                };
                if let Some(missing) = missing {
                    return Err(format!(
                        "`{submission}` is in the log, and not `{missing}` before"
                    ));
                }
                if newest.is_some_and(|newest| place < newest) {
                    return Err(format!("before an earlier one of its client: {submission}"));
                }
                newest = Some(place);
                let count = if number < accepted { Count::Accepted } else { Count::Unconfirmed };
                stage.tally.counts.add(count, true);
            }
        }
    }
    if let Some(stranger) = places.keys().next() {
        return Err(format!("in the log, but nobody submitted it: {stranger}"));
    }
    stage.tally.counts.add(Count::Messages, log.messages);
    stage.tally.counts.add(Count::Sessions, log.sessions);
    if let Some(work) = stage.plan.work {
        work_check::check(&work, stage, &log)?;
    }
    nothing_left(stage)
}

fn nothing_left(stage: &Stage<'_>) -> Result<(), String> {
    let mut left = stage.sandbox.leftovers();
    // Letters stay; and a file without any, where a worker was killed before it wrote the first.
    let letters = stage.plan.work.is_some().then(|| format!("file {}", dead::NAME));
    left.retain(|what| Some(what) != letters.as_ref());
    if left.is_empty() { Ok(()) } else { Err(format!("left: {}", left.join(", "))) }
}
