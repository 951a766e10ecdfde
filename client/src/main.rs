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
use std::io::StdinLock;
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
    // Without arguments the lines of standard input.
    let mut input = submissions.is_empty().then(|| Input::new(std::io::stdin().lock()));
    let mut instance = Instance::open(&args.dir)?;
    loop {
        // As long as this is held, a load balancer waits for more.
        instance.hold(Role::Client)?;
        let mut feed = Feed::new(&instance, args.quiet, args.durable);
        let outcome = submit(&mut submissions, input.as_mut(), &mut feed);
        if !matches!(outcome, Ok(None)) {
            return feed.end(outcome.map(Option::unwrap_or_default));
        }
        drop(feed);
        instance.reopen()?;
    }
}

/// Submits those, and then what is read. Nothing: some are left, for the log that there is now.
fn submit(
    submissions: &mut Vec<Submission>,
    input: Option<&mut Input<StdinLock<'_>>>,
    feed: &mut Feed<'_>,
) -> Result<Option<u8>, Error> {
    feed.submit(submissions)?;
    let Some(input) = input else { return Ok(submissions.is_empty().then_some(0)) };
    while submissions.is_empty() {
        if !input.read_batch(submissions)? {
            return Ok(Some(exit_code(input)));
        }
        feed.submit(submissions)?;
    }
    Ok(None)
}

fn exit_code(input: &Input<StdinLock<'_>>) -> u8 {
    match (input.accepted(), input.refused()) {
        (_, 0) => 0,
        (0, _) => exit::USAGE,
        _ => exit::PARTLY,
    }
}
