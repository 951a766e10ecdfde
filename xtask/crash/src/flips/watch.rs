//! Waiting until all is over, and noticing what hangs.

use std::thread;
use std::time::{Duration, Instant};

use crate::random::stage::Stage;
use crate::{is_interrupted, witness};

/// From the flip on, something must happen at least every so often until the end: the log grows, or a process
/// ends.
const PATIENCE: Duration = Duration::from_secs(5);
/// … and all must be over within this time.
const TOGETHER: Duration = Duration::from_secs(30);

/// Looks again and again whether all is over. Returns false as soon as somebody has ended with an error.
pub(super) fn watch(
    stage: &mut Stage<'_>,
    is_over: &mut dyn FnMut(&mut Stage<'_>) -> Result<bool, String>,
) -> Result<bool, String> {
    let begun = Instant::now();
    let mut seen = (stage.sandbox.log_len(), stage.running().len(), begun);
    loop {
        let over = is_over(stage)?;
        if witness::segments(&stage.sandbox.dir()) > 1 {
            return Err("a second ledger was made beside the first".to_owned());
        }
        if !stage.failed.is_empty() {
            return Ok(false);
        }
        if over {
            return Ok(true);
        }
        let (log_len, running) = (stage.sandbox.log_len(), stage.running().len());
        if (log_len, running) != (seen.0, seen.1) {
            seen = (log_len, running, Instant::now());
        }
        if seen.2.elapsed() > PATIENCE || begun.elapsed() > TOGETHER {
            let left: Vec<String> = stage.running().iter().map(ToString::to_string).collect();
            return Err(format!("hangs; still running: {}", left.join(", ")));
        }
        if is_interrupted() {
            return Err("interrupted".to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
