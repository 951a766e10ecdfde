//! lbctl - look at the load balancer of a directory, at its log and its dead letters
//!
//! # Synopsis
//! ```text
//! lbctl status [--dir DIR] [--json]
//! lbctl watch [--dir DIR]
//! lbctl metrics [--dir DIR] [--listen [ADDRESS:]PORT | --textfile FILE]
//! lbctl verify [--workers N] [--json] LOG
//! lbctl inspect [--dir DIR | --all]
//! lbctl dead list [--dir DIR] [--json]
//! lbctl dead show [--dir DIR] ID
//! lbctl dead retry [--dir DIR] {ID... | --all}
//! lbctl dead drop [--dir DIR] {ID... | --all}
//! lbctl rotate [--dir DIR]
//! ```
//!
//! # Description
//!
//! `status` says once what a directory's load balancer and workers are doing, `watch` shows it on the whole terminal,
//! and `metrics` gives it to Prometheus. They only look.
//!
//! `verify` checks any `sistem.log`, also one that another program wrote, and names the first wrong line and
//! what was expected there. `inspect` prints what a directory's ledger and queues hold, as JSON; with `--all`
//! the ledgers of all directories of this user, also of deleted ones, and how to remove each. Neither changes
//! anything or takes a lock, so both may be asked at any moment.
//!
//! `dead` is about messages whose execution failed for good (`sistem.dead`). `list` prints those about which
//! nothing was done yet, a line each, and with `--json` as JSON Lines; `show` prints all of one. `retry` submits the
//! text again, as `client` does, and prints `accepted TEXT;1 (was ID)`; `drop` takes it off the list. A `retry` that was
//! killed may be repeated: nothing is lost, and nothing submitted twice.
//!
//! `rotate` has the log renamed to `sistem.log.1`, or the next number, and prints that name. A load balancer that runs
//! with `--serve` ends its session first, and begins another log.
//!
//! # Exit status
//!
//! 0 done, and for `verify`: nothing is wrong; 4 something is wrong with the log; 3 trouble with a file, the
//! directory, IPC or standard output; 2 usage, or for `dead`: nothing could be done with any of the IDs; 1 only with
//! some.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use common::error::{Error, report};
use common::fence::signals;
use common::program::help;
use lbctl::args::{Args, Command};
use lbctl::{dead, inspect, metrics, rotate, status, verify, watch};

fn main() -> ExitCode {
    // What a parent may have left, and what a limit of file sizes would end it by.
    let clean = signals::start_clean().map_err(Error::system("sigaction"));
    if let Err(error) = clean {
        return report("lbctl", Err(error));
    }
    match help::parse::<Args>().command {
        Command::Status(args) => status::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Rotate(args) => rotate::run(&args),
    }
}
