//! What `cluster inspect` says about the stream.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;

/// How often is looked whether a program has ended.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// An entry.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) subject: String,
    pub(crate) payload: Value,
}

/// Runs a program that only looks; nothing if it does not end in time, as while the servers are away.
pub(crate) fn look(mut command: Command, output: &Path, limit: Duration) -> Result<bool, Failure> {
    let name = || output.display().to_string();
    let stdout = File::create(output).map_err(Failure::system(name()))?;
    let child = command.stdin(Stdio::null()).stdout(stdout).spawn();
    let status = wait(&mut child.map_err(Failure::system("cluster"))?, limit)?;
    Ok(status.is_some_and(|status| status.success()))
}

/// How a program has ended; killed, and nothing, if it does not in time.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::system("waitpid"))? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            // It has not been waited for, so both meet it.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Reads what `cluster inspect` has printed, entry by entry.
pub(crate) fn entries(output: &Path, mut each: impl FnMut(Entry)) -> Result<(), Failure> {
    let name = || output.display().to_string();
    let file = File::open(output).map_err(Failure::system(name()))?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(Failure::system(name()))?;
        let wrong = |error| Failure::Broken(format!("`cluster inspect`, line {number}: {error}"));
        each(serde_json::from_str(&line).map_err(wrong)?);
    }
    Ok(())
}
