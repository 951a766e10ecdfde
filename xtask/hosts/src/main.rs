//! `cargo xtask cluster`: hosts, servers, links and disks fail under load, and every host's log must be the same.
//!
//! - [`guard`] starts the run as a process of its own, in namespaces, so that its end is the end of everything;
//! - a [`leash`] ends the run when the guard is killed;
//! - [`inside`] is that run: it makes a [`site`], plays the rounds, and checks what came of them;
//! - a [`site`] is three [`host`]s on one switch ([`network`]), each with a [`disk`], a [`server`], a balancer and its
//!   workers, and the clients that feed it ([`load`]);
//! - [`plan`] draws what fails in a round, [`round`] does it, and measures how long nothing goes on;
//! - [`checks`] look at the logs, the stream and what COMMAND ([`handler`]) has written down;
//! - [`mod@bench`] measures speed instead;
//! - [`report`] says what was seen, and a [`witness`] keeps it if something is wrong.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod disk;
mod failure;
mod guard;
mod handler;
mod host;
mod inside;
mod leash;
mod load;
mod network;
mod place;
mod plan;
mod report;
mod round;
mod server;
mod site;
mod stream;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use plan::Kind;

/// Fail hosts, servers, links and disks under load, and compare every host's log.
///
/// It runs in network namespaces; where those are not allowed, on loopback ports, without the faults that need them.
/// The server is `$NATS_SERVER`, or what `.ci/nats-server` gets, or the one in PATH.
///
/// Exit status: 0 everything is right; 4 something is not, and the directory is kept; 2 usage; 3 it could not be run.
#[derive(Debug, Parser)]
#[command(name = "hosts", bin_name = "cargo xtask cluster", version)]
struct Args {
    /// How many faults, one after the other.
    #[arg(long, value_name = "R", default_value_t = 200)]
    rounds: u64,
    /// Draws the faults, their places and times, and the load; the same seed draws the same ones.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Only faults of these kinds.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., value_name = "KIND")]
    only: Vec<Kind>,
    /// Measure speed instead, beside a bare publisher and the local product: all on loopback ports, built for release.
    #[arg(long, conflicts_with_all = ["rounds", "seed", "only", "keep", "json", "programs"])]
    bench: bool,
    /// On loopback ports, also where namespaces are allowed.
    #[arg(long)]
    loopback: bool,
    /// Use a program `cluster` that was built elsewhere.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Keep the directory with the logs, also when everything is right.
    #[arg(long)]
    keep: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    // Some thousand times: without a look at the other arguments.
    if let Some(code) = handler::be_command() {
        return code;
    }
    if let Some(code) = leash::be_cleaner() {
        return code;
    }
    let outcome = match place::Place::of_this_process() {
        Some((place, args)) => inside::run(&place, &Args::parse_from(args)),
        None => guard::run(&Args::parse()),
    };
    outcome.unwrap_or_else(|failure| {
        common::tell!("cluster: {failure}");
        ExitCode::from(failure.exit_code())
    })
}
