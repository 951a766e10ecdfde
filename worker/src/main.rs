//! worker - execute the messages that the load balancer of a directory sends to number K
//!
//! # Synopsis
//! ```text
//! worker [--dir DIR] [--echo] K
//! ```
//!
//! # Description
//!
//! Takes frames from its message queue, executes each message and counts it in the ledger; then
//! logs all lines that are ready, its own and the others'. When the load balancer asks, logs its
//! total and ends. Started by hand, it may come before the load balancer, and outlives one that dies:
//! the next one finds it waiting. One that the load balancer has started dies with it.
//!
//! # Exit status
//!
//! 0 total logged, or left to the load balancer to log; 2 usage, or K above the load balancer's N; 3 IPC,
//! peer or file trouble; 130, 143 ended by SIGINT, SIGTERM.
#![forbid(unsafe_code)]

mod execute;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::error::{Error, report};
use common::fence::signals;
use common::instance::Instance;
use common::journal::Journal;
use common::role::Role;
use common::rotation::WorkerId;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd;

use execute::Executor;
use serve::Server;

/// Execute the messages that the load balancer sends to worker K.
///
/// Exit status: 0 total logged; 2 usage, or K above the load balancer's N; 3 IPC, peer or file trouble;
/// 130, 143 ended by SIGINT, SIGTERM.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The directory whose sistem.log and load balancer to use.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Print each message as it is executed: TEXT;INDEX.
    #[arg(long)]
    echo: bool,
    /// Set by the load balancer for the workers it starts: end when it does.
    #[arg(long, hide = true, value_name = "PID")]
    spawned_by: Option<i32>,
    /// This worker's number, from 1 to the load balancer's N.
    #[arg(value_name = "K")]
    worker: WorkerId,
}

fn main() -> ExitCode {
    report("worker", run(&Args::parse()))
}

fn run(args: &Args) -> Result<u8, Error> {
    signals::start_clean().map_err(Error::system("sigaction"))?;
    if let Some(parent) = args.spawned_by {
        // SIGKILL also ends a stopped worker. A parent that died before is not told: compare.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::system("prctl"))?;
        if unistd::getppid().as_raw() != parent {
            return Err(Error::Worker {
                worker: args.worker.get(),
                why: "the load balancer that started it is gone".to_owned(),
            });
        }
    }
    signals::watch(1).map_err(Error::system("sigaction"))?;

    let role = Role::Worker(args.worker);
    let mut executor = Executor::new(args.echo)?;
    loop {
        let instance = Instance::open(&args.dir)?;
        instance.hold(role)?;
        let (mut journal, _) = Journal::open_as(role, instance)?;
        let outcome = Server::new(&mut journal, args.worker, &mut executor).run();
        // Another log: the session that this worker waited in was set aside.
        let again = matches!(outcome, Err(Error::LogReplaced)) && journal.ledger().is_removed();
        let outcome = journal.leave(role, outcome);
        if !again {
            return outcome;
        }
    }
}
