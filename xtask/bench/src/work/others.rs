//! Programs that people use to start a process for each line. They log nothing.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Contestant, NAP_SECONDS, Task};
use crate::case::Case;
use crate::failure::Failure;
use crate::launch::{printed, time};

/// Whether it is there, and GNU's: others of the same name know other options.
pub(super) fn is_installed(contestant: Contestant) -> bool {
    let program = match contestant {
        Contestant::Xargs => "xargs",
        Contestant::Parallel => "parallel",
        Contestant::Ours | Contestant::Pipes => return true,
    };
    printed(program, &["--version"]).is_some_and(|version| version.contains("GNU"))
}

/// The line becomes the last argument.
pub(super) fn xargs(task: Task, case: &Case) -> Result<Duration, Failure> {
    let mut command = Command::new("xargs");
    command.args(["-P", &case.workers.to_string(), "-n", "1"]);
    run(command, task, case)
}

pub(super) fn parallel(task: Task, case: &Case) -> Result<Duration, Failure> {
    let mut command = Command::new("parallel");
    command.args(["-j", &case.workers.to_string()]);
    run(command, task, case)
}

fn run(mut command: Command, task: Task, case: &Case) -> Result<Duration, Failure> {
    let (program, line) = match task {
        Task::Sleep | Task::Sleeper => ("sleep", NAP_SECONDS),
        Task::True | Task::Answer => ("/bin/true", "Halo"),
    };
    let input = lines(&format!("{line}\n"), case.messages);
    command.arg(program).stdin(input.map_err(Failure::system("a temp file"))?);
    command.stdout(Stdio::null());
    time(command)
}

/// A file with the same line so many times, to be read from the start.
fn lines(line: &str, times: u32) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(line.repeat(times as usize).as_bytes())?;
    file.rewind()?;
    Ok(file)
}
