//! client - submit messages to the load balancer of a directory
//!
//! # Synopsis
//! ```text
//! client [--dir DIR] [--quiet] [--durable] [TEXT;COUNT]...
//! ```
//!
//! # Description
//!
//! Submits each `TEXT;COUNT` through shared memory: COUNT messages that carry TEXT. Without
//! arguments it reads standard input, a submission a line, until its end. The load balancer may
//! come later. Prints `accepted TEXT;COUNT` for each one that is logged and not to be lost.
//!
//! # Exit status
//!
//! 0 all accepted; 1 some accepted, some not; 2 none, for they were invalid; 3 IPC or file trouble:
//! those that it printed are accepted. SIGINT, SIGTERM and SIGHUP kill it.
#![forbid(unsafe_code)]

mod feed;
mod input;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::advice;
use common::error::{Error, exit, report};
use common::fence::signals;
use common::instance::Instance;
use common::role::Role;
use common::submission::Submission;

use feed::Feed;
use input::Input;

/// Submit messages to the load balancer of a directory.
///
/// Exit status: 0 all accepted; 1 some accepted, some not; 2 none, for they were invalid; 3 IPC or file
/// trouble: those that it printed are accepted.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The directory whose sistem.log and load balancer to use.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Do not print `accepted …` lines.
    #[arg(long)]
    quiet: bool,
    /// Have each acceptance on the disk (fdatasync) before it is printed.
    #[arg(long)]
    durable: bool,
    /// Submissions; without any they are read from standard input, one a line.
    #[arg(value_name = "TEXT;COUNT")]
    submissions: Vec<OsString>, // judged by us, who name the byte that is not UTF-8
}

fn main() -> ExitCode {
    report("client", run(&Args::parse()))
}

fn run(args: &Args) -> Result<u8, Error> {
    advice::give(&args.dir, None);
    signals::start_clean().map_err(Error::system("sigaction"))?;
    // Arguments are judged before anything is touched; lines of standard input as they come.
    let mut submissions = Vec::new();
    for (i, argument) in args.submissions.iter().enumerate() {
        match Submission::parse(argument.as_bytes()) {
            Ok(submission) => submissions.push(submission),
            Err(error) => {
                common::tell!("client: argument {}: {error}; nothing was submitted", i + 1);
                return Ok(exit::USAGE);
            }
        }
    }
    let instance = Instance::open(&args.dir)?;
    // As long as this is held, a load balancer waits for more.
    instance.hold(Role::Client)?;
    let mut feed = Feed::new(&instance, args.quiet, args.durable);
    let outcome = submit(&mut submissions, &mut feed);
    feed.end(outcome)
}

/// Submits the arguments, or without any the lines of standard input.
fn submit(submissions: &mut Vec<Submission>, feed: &mut Feed<'_>) -> Result<u8, Error> {
    if !submissions.is_empty() {
        feed.submit(submissions)?;
        return Ok(0);
    }
    let mut input = Input::new(std::io::stdin().lock());
    while input.read_batch(submissions)? {
        feed.submit(submissions)?;
    }
    Ok(match (input.accepted(), input.refused()) {
        (_, 0) => 0,
        (0, _) => exit::USAGE,
        _ => exit::PARTLY,
    })
}
