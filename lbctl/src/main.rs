//! lbctl - look at the load balancer of a directory, and at its log
//!
//! # Synopsis
//! ```text
//! lbctl verify [--workers N] [--json] LOG
//! lbctl inspect [--dir DIR | --all]
//! ```
//!
//! # Description
//!
//! `verify` checks any `sistem.log`, also one that another program wrote, and names the first wrong line and
//! what was expected there. `inspect` prints what a directory's ledger and queues hold, as JSON; with `--all`
//! the ledgers of all directories of this user, also of deleted ones, and how to remove each. Neither changes
//! anything or takes a lock, so both may be asked at any moment.
//!
//! # Exit status
//!
//! 0 done, and for `verify`: nothing is wrong; 4 something is wrong with the log; 3 the file or the directory
//! cannot be read; 2 usage.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lbctl::{inspect, verify};

/// Look at the load balancer of a directory, and at its log.
///
/// Exit status: 0 done, and for verify: nothing is wrong; 4 something is wrong with the log; 3 the file or
/// the directory cannot be read; 2 usage.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Each is described by its arguments, exit codes included.
#[derive(Subcommand)]
enum Command {
    Verify(verify::Args),
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    }
}
