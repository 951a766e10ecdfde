//! xtask - one button for each thing a person does with the workspace: `cargo xtask --help`
#![forbid(unsafe_code)]

mod e2e;
mod tool;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lbctl::{inspect, verify};

const EXAMPLES: &str = "\
Examples:
  Build all, run it in a temp directory, and check the log:
      cargo xtask e2e --workers 3 --input \"Halo A;10\"
  Check a log:
      cargo xtask verify sistem.log
  Make the archive and the Debian package:
      cargo xtask dist";

/// One button for each thing a person does with the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, before_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the whole system in a temp directory and check its log.
    ///
    /// With COMMAND the workers do that with each message, and the log must be the same as without. It runs in the temp
    /// directory; the path of COMMAND itself, and of --joblog, is taken from where you are.
    ///
    /// Exit status: 0 everything is right; 1 the same, but some messages are dead; 4 something is not right; 2 usage;
    /// 3 it could not be run.
    E2e(e2e::Args),
    /// Check any sistem.log, also one that another program wrote. The same as `lbctl verify`.
    Verify(verify::Args),
    /// Kill processes wherever they can be killed, and compare the log with an undisturbed one's.
    Crash(tool::Args),
    /// Measure speed, as ratios within one run.
    Bench(tool::Args),
    /// Fail hosts, servers, links and disks under load, and compare every host's log.
    Cluster(tool::Args),
    /// Make an archive and a Debian package of the programs.
    Dist(tool::Args),
    /// Print what a directory's ledger and queues hold. The same as `lbctl inspect`.
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    match Args::parse().task {
        Task::E2e(args) => e2e::run(&args),
        Task::Verify(args) => verify::run(&args),
        Task::Crash(args) => tool::run("crash", &args),
        Task::Bench(args) => tool::run("bench", &args),
        Task::Cluster(args) => tool::run("hosts", &args),
        Task::Dist(args) => tool::run("dist", &args),
        Task::Inspect(args) => inspect::run(&args),
    }
}
