//! Somebody ended with an error: everyone is ended, what the error advises is done, and the same commands
//! are given again.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::advice;
use super::watch::watch;
use crate::random::log::read_lines;
use crate::random::plan::{Deed, Part};
use crate::random::round;
use crate::random::stage::Stage;

/// An error may lead to another one, but not for ever.
const TRIES: u32 = 3;
/// The first request drains, the second one aborts.
const REQUESTS: u32 = 2;
/// A process that is asked to end does so within this time.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// Returns once everything is done.
pub(super) fn recover(stage: &mut Stage<'_>) -> Result<(), String> {
    let mut said = String::new();
    for _ in 0..TRIES {
        // Nothing wrong is in the log, whatever was damaged.
        read_lines(stage.sandbox, stage.plan)?;
        end_everyone(stage)?;
        said = stage.failed.drain(..).map(|(part, stderr)| format!("{part}: {stderr}")).collect();
        for command in advice::commands(&said) {
            command.follow(stage.sandbox)?;
        }
        if watch(stage, &mut round::is_over)? {
            return Ok(());
        }
    }
    Err(format!("after its advice was followed {TRIES} times, there is another error: {said}"))
}

/// Ends what is left, as a person does who has read an error.
fn end_everyone(stage: &mut Stage<'_>) -> Result<(), String> {
    for _ in 0..REQUESTS {
        let start = Instant::now();
        for part in stage.running() {
            match part {
                Part::Client(_) => stage.act(Deed::Kill, part)?,
                Part::Balancer => {
                    stage.balancer.iter_mut().for_each(|balancer| {
                        balancer.process.signal(Signal::SIGTERM);
                        balancer.told_to_end = true;
                    });
                }
                Part::Handler(_) => {}
                Part::Worker(number) => {
                    if let Some(worker) = &mut stage.workers[number as usize - 1] {
                        worker.process.signal(Signal::SIGTERM);
                        worker.told_to_end = true;
                    }
                }
            }
        }
        while start.elapsed() < ENDS_WITHIN {
            stage.reap()?;
            if stage.running().is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
    let left: Vec<String> = stage.running().iter().map(ToString::to_string).collect();
    Err(format!("asked twice to end, and still running: {}", left.join(", ")))
}
