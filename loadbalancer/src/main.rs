//! loadbalancer - log every submitted message and forward it round-robin to N workers
//!
//! # Synopsis
//! ```text
//! loadbalancer [--dir DIR] [--serve] [--no-spawn] [--durable] [--fresh] [--worker-program FILE] N
//! ```
//!
//! # Description
//!
//! Starts N workers, logs each message as received, forwards it to the worker whose turn it is,
//! has each worker log its total, removes the IPC objects and ends: once at least one submission
//! has been processed, nothing is left and no client is still feeding. A session that a killed
//! load balancer left unfinished is finished first.
//!
//! SIGINT or SIGTERM drain: what was accepted is still processed. A second one aborts: what is
//! unfinished stays for the next start.
//!
//! # Exit status
//!
//! 0 done; 2 usage, or another N than the unfinished session's; 3 IPC, peer or file trouble; 130, 143
//! aborted by a second SIGINT, SIGTERM.
#![forbid(unsafe_code)]

mod balance;
mod crew;
mod dispatch;
mod outlet;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use common::error::{Error, report};
use common::fence::signals;
use common::instance::Instance;
use common::journal::Journal;
use common::pause::pause;
use common::role::Role;
use common::rotation::Workers;
use common::session::{self, Found};

use balance::Balancer;

/// Log every submitted message and forward it round-robin to N workers.
///
/// Exit status: 0 done; 2 usage, or another N than the unfinished session's; 3 IPC, peer or file
/// trouble; 130, 143 aborted by a second SIGINT, SIGTERM.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The directory whose sistem.log and clients to use.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Run on until SIGINT or SIGTERM.
    #[arg(long)]
    serve: bool,
    /// Wait for workers started by hand instead of starting them.
    #[arg(long)]
    no_spawn: bool,
    /// Have each of its own appends on the disk (fdatasync) before it goes on, and the whole log, also
    /// what workers wrote, before it removes the ledger and ends.
    #[arg(long)]
    durable: bool,
    /// Set an unfinished session aside first: its log is renamed to sistem.log.1 (or the next free
    /// number), its IPC objects are removed.
    #[arg(long)]
    fresh: bool,
    /// The worker program to start, if not the one beside this program.
    #[arg(long, value_name = "FILE")]
    worker_program: Option<PathBuf>,
    /// How many workers share the messages, from 1 to 256.
    #[arg(value_name = "N")]
    workers: Workers,
}

fn main() -> ExitCode {
    report("loadbalancer", run(&Args::parse()))
}

fn run(args: &Args) -> Result<u8, Error> {
    signals::start_clean().map_err(Error::system("sigaction"))?;
    signals::watch(2).map_err(Error::system("sigaction"))?;
    if args.fresh
        && let Some(name) = session::set_aside(&args.dir)?
    {
        common::tell!("loadbalancer: the unfinished session is now in {}", name.display());
    }
    let instance = Instance::open(&args.dir)?;
    instance.hold(Role::Balancer)?;
    let start = Instant::now();
    let (mut journal, mut found) = Journal::open_as(Role::Balancer, instance)?;
    let outcome = loop {
        let outcome = balance(args, &mut journal, found);
        // What ended without being asked to was a session that an earlier load balancer was to drain.
        if !matches!(outcome, Ok(0)) || !args.serve || signals::is_asked_to_end() {
            break outcome;
        }
        common::tell!("loadbalancer: the session is complete; serving on");
        match journal.reopen() {
            Ok(next) => found = next,
            Err(error) => break Err(error),
        }
    };
    let outcome = outcome.and_then(|code| leave_unused(&journal, start).map(|()| code));
    journal.leave(Role::Balancer, outcome)
}

fn balance(args: &Args, journal: &mut Journal, found: Found) -> Result<u8, Error> {
    if args.durable {
        journal.set_durable()?;
    }
    match found {
        Found::Nothing | Found::Ledger => {}
        Found::Log => {
            let at = journal.cursors()?;
            common::tell!(
                "loadbalancer: resuming the session in sistem.log: {} of {} messages are logged to their \
                 last line",
                at.base,
                at.messages
            );
        }
        Found::Remains => {
            common::tell!(
                "loadbalancer: the session was complete; removed what a killed process left"
            );
            journal.sync_if_durable()?;
            if !args.serve {
                return Ok(0);
            }
        }
    }
    match journal.set_workers(args.workers) {
        // Only totals were missing, and workers started by hand have been quicker.
        Err(Error::SessionEnded) => {
            if !args.serve {
                common::tell!("loadbalancer: the session is complete");
            }
            return journal.sync_if_durable().map(|()| 0);
        }
        set => set?,
    }
    let program = args.worker_program.clone().map_or_else(crew::worker_program, Ok)?;
    let spawn = (!args.no_spawn).then_some(program);
    Balancer::new(journal, args.workers, spawn, args.serve)?.run()
}

/// Waits, where the ledger was never used, for the workers of a killed load balancer: they have their roles
/// for a moment after its death, as if there were somebody to begin a session.
fn leave_unused(journal: &Journal, start: Instant) -> Result<(), Error> {
    while journal.cursors()?.submissions == 0
        && !session::leave(journal.instance(), Role::Balancer)?
        && start.elapsed() < crew::END_PATIENCE
    {
        pause(Duration::from_millis(1));
    }
    Ok(())
}
