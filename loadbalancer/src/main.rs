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
//! SIGINT, SIGTERM or SIGHUP drain: what was accepted is still processed. A second one aborts: what is
//! unfinished stays for the next start. Those that come within half a second are one.
//!
//! # Exit status
//!
//! 0 done; 2 usage, or another N than the unfinished session's; 3 IPC, peer or file trouble; 130, 143,
//! 129 aborted by a second SIGINT, SIGTERM, SIGHUP.
#![forbid(unsafe_code)]

mod balance;
mod crew;
mod dispatch;
mod outlet;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::advice::{self, LOG};
use common::cursors::Cursors;
use common::error::{Error, report, signal_exit_code};
use common::fence::signals;
use common::instance::Instance;
use common::journal::{Journal, Opened};
use common::role::Role;
use common::rotation::Workers;
use common::session;
use common::waiting::Watch;

use balance::{Balancer, TICK};
use crew::Crew;

/// Log every submitted message and forward it round-robin to N workers.
///
/// Exit status: 0 done; 2 usage, or another N than the unfinished session's; 3 IPC, peer or file
/// trouble; 130, 143, 129 aborted by a second SIGINT, SIGTERM, SIGHUP.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The directory whose sistem.log and clients to use.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Run on until SIGINT, SIGTERM or SIGHUP.
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
    advice::give(&args.dir, Some(args.workers));
    signals::start_clean().map_err(Error::system("sigaction"))?;
    signals::watch_children();
    signals::watch(2).map_err(Error::system("sigaction"))?;
    let mut instance = Instance::open(&args.dir)?;
    if args.fresh
        && let Some(name) = session::set_aside(&instance, args.workers)?
    {
        common::tell!("loadbalancer: the unfinished session is now in {}", name.display());
        instance.reopen()?;
    }
    let program = args.worker_program.clone().map_or_else(crew::worker_program, Ok)?;
    let mut crew = Crew::new(args.workers, (!args.no_spawn).then_some(program));
    let role = Role::Balancer(args.workers);
    loop {
        instance.hold(role)?;
        let code = match wait_for_session(args, &instance, &mut crew)? {
            Waited::Session(journal) => balance(args, *journal, &mut crew)?,
            Waited::Ended(code) => Some(code),
            Waited::LogReplaced => {
                instance.reopen()?;
                crew.begin_again();
                None
            }
        };
        if let Some(code) = code {
            // What ended without being asked to was a session that an earlier load balancer was to drain.
            if code != 0 || !args.serve || signals::is_asked_to_end() {
                return Ok(code);
            }
            common::tell!("loadbalancer: the session is complete; serving on");
        }
    }
}

/// What [`wait_for_session`] came to.
enum Waited<'a> {
    Session(Box<Journal<'a>>),
    /// There is none, and none is waited for; the exit code.
    Ended(u8),
    /// The log has become another one, in which there may be a session.
    LogReplaced,
}

/// Waits for a submission. There is no ledger before.
fn wait_for_session<'a>(
    args: &Args,
    instance: &'a Instance,
    crew: &mut Crew,
) -> Result<Waited<'a>, Error> {
    let mut watch = None;
    // The log's length when it was read back, and since when it has the one that it has.
    let (mut read_len, mut rest) = (None, None);
    loop {
        if let Some(signal) = signals::aborted_by() {
            return Ok(Waited::Ended(signal_exit_code(signal)));
        }
        // Before the look: what was accepted before the signal is still processed.
        let draining = signals::is_asked_to_end();
        let log_len = match instance.checked_log_len() {
            Err(Error::LogReplaced) => return Ok(Waited::LogReplaced),
            checked => checked?,
        };
        let since = match rest {
            Some((len, since)) if len == log_len => since,
            _ => rest.insert((log_len, Instant::now())).1,
        };
        // Read back only once nobody writes to it any more, as one who restores it.
        let is_another = read_len != Some(log_len) && since.elapsed() >= TICK;
        if read_len.is_none() || is_another || session::find(instance.directory())?.is_some() {
            read_len = Some(log_len);
            match Journal::open(instance, args.durable)? {
                Opened::Session(journal, rebuilt) => {
                    if rebuilt {
                        tell_resuming(&journal.cursors()?);
                    }
                    return Ok(Waited::Session(journal));
                }
                Opened::Remains => {
                    common::tell!(
                        "loadbalancer: the session was complete; removed what a killed process left"
                    );
                    if args.durable {
                        instance.log().sync_data().map_err(Error::Log)?;
                    }
                    if !args.serve {
                        return Ok(Waited::Ended(0));
                    }
                }
                Opened::Nothing => {}
            }
        }
        if draining {
            common::tell!("loadbalancer: draining: no messages left");
            return Ok(Waited::Ended(0));
        }
        let look_again = crew.tend(instance, None, false)?;
        match &watch {
            // Look once more: what came before is not told.
            None => watch = Some(Watch::new(instance.log())),
            Some(watch) => {
                let until = look_again.map(|at| at.saturating_duration_since(Instant::now()));
                watch.wait(until.unwrap_or(TICK).min(TICK))?;
            }
        }
    }
}

fn tell_resuming(at: &Cursors) {
    common::tell!(
        "loadbalancer: resuming the session in {LOG}: {} of {} messages are logged to their last line",
        at.base,
        at.messages
    );
}

/// Brings a session to its end. Nothing: look for another one.
fn balance(args: &Args, mut journal: Journal<'_>, crew: &mut Crew) -> Result<Option<u8>, Error> {
    // Its first submission was taken back.
    let never_was = |journal: &Journal<'_>| Ok(journal.cursors()?.submissions == 0);
    match journal.set_workers(args.workers) {
        Err(Error::SessionEnded) if never_was(&journal)? => return Ok(None),
        // Only totals were missing, and workers started by hand have been quicker.
        Err(Error::SessionEnded) => {
            if !args.serve {
                common::tell!("loadbalancer: the session is complete");
            }
            return journal.sync_if_durable().map(|()| Some(0));
        }
        set => set?,
    }
    session::remove_queues(journal.instance(), |k| k.get() > args.workers.get())?;
    match Balancer::new(journal, args.workers, crew, args.serve)?.run() {
        Err(Error::SessionEnded) => Ok(None),
        ended => ended.map(Some),
    }
}
