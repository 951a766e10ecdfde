//! loadbalancer - log every submitted message and forward it round-robin to N workers
//!
//! # Synopsis
//! ```text
//! loadbalancer [--dir DIR] [--serve [--rotate SIZE] | --no-wait] [--no-spawn] [--durable] [--fresh] [--quiet]
//!              [--worker-program FILE] N
//! loadbalancer … [--lines] [--retries R] [--backoff TIME] [--timeout TIME] [--grace TIME] [--joblog FILE]
//!              N -- COMMAND [ARG]...
//! ```
//!
//! # Description
//!
//! Starts N workers, logs each message as received, forwards it to the worker whose turn it is,
//! has each worker log its total, removes the IPC objects and ends: once at least one submission
//! has been processed, nothing is left and no client is still feeding. A session that a killed
//! load balancer left unfinished is finished first. With COMMAND the workers do that with each message: see there.
//!
//! SIGINT, SIGTERM or SIGHUP drain: what was accepted is still processed. A second one aborts: what is
//! unfinished stays for the next start. Those that come within half a second are one.
//!
//! With `--serve`, SIGUSR1 and `--rotate SIZE` end the session with its totals, rename the log and begin another one.
//!
//! # Exit status
//!
//! 0 done; 1 done, but some messages are dead; 2 usage, no such COMMAND, or another N than the unfinished session's; 3 IPC,
//! peer or file trouble, or a COMMAND that cannot be run; 130, 143, 129 aborted by a second SIGINT, SIGTERM, SIGHUP.
//!
//! # Files
//!
//! `sistem.log` the log, `sistem.dead` the dead letters, both in DIR.
#![forbid(unsafe_code)]

mod args;
mod balance;
mod bar;
mod crew;
mod dispatch;
mod lasting;
mod log_rotation;
mod outlet;
mod stock;

use std::process::ExitCode;
use std::time::Instant;

use common::error::{Error, exit, report, signal_exit_code};
use common::fence::signals;
use common::instance::Instance;
use common::instance::objects;
use common::instance::role::Role;
use common::instance::waiting::Watch;
use common::log::journal::Journal;
use common::program::advice::{self, LOG};
use common::program::help;
use common::program::say;
use common::program::service_manager;
use common::queue;
use common::session::aside;
use common::session::begin::Opened;
use nix::sys::prctl;

use args::Args;
use balance::Balancer;
use bar::Bar;
use crew::{Crew, Start, TICK};
use lasting::{Lasting, once};
use log_rotation::LogRotation;

fn main() -> ExitCode {
    report("loadbalancer", run(&help::parse()))
}

fn run(args: &Args) -> Result<u8, Error> {
    advice::give(&args.dir, Some(args.workers));
    if args.quiet {
        say::be_quiet();
    }
    service_manager::begin();
    signals::start_clean().map_err(Error::system("sigaction"))?;
    signals::watch(2).map_err(Error::system("sigaction"))?;
    signals::watch_children().map_err(Error::system("sigaction"))?;
    signals::watch_rotate().map_err(Error::system("sigaction"))?;
    args.work.check()?;
    if args.work.is_any() {
        // What a dead worker's COMMAND leaves comes here, where it is killed.
        prctl::set_child_subreaper(true).map_err(Error::system("prctl"))?;
    }
    let mut instance = Instance::open(&args.dir)?;
    if args.fresh
        && let Some(name) = aside::set_aside(&instance, args.workers, args.durable)?
    {
        common::note!("loadbalancer: the unfinished session is now in {}", name.display());
        instance.reopen()?;
    }
    let program = args.worker_program.clone().map_or_else(crew::worker_program, Ok)?;
    let start = Start {
        program,
        work: args.work.clone(),
        durable: args.durable,
        bar: Bar::new().is_seen(),
    };
    let mut crew = Crew::new(args.workers, (!args.no_spawn).then_some(start));
    // The worst of all sessions.
    let mut worst = 0;
    let mut said_waiting = false;
    let mut rotation = LogRotation::new(args.serve, args.rotate);
    loop {
        let role = Role::Balancer(args.workers);
        if instance.is_log_replaced() {
            instance.reopen_as(role)?;
            crew.begin_again();
            rotation.done();
        } else {
            instance.hold(role)?;
        }
        match next_session(args, &instance, &mut crew, &mut rotation, &mut said_waiting)? {
            // What ended without being asked to was a session that an earlier load balancer was to drain.
            Some(code @ (0 | exit::PARTLY)) if args.serve && !signals::is_asked_to_end() => {
                worst = worst.max(code);
                let what = if instance.is_log_replaced() {
                    "log was renamed"
                } else {
                    "session is complete"
                };
                common::note!("loadbalancer: the {what}; serving on");
            }
            Some(code) => return Ok(worst.max(code)),
            None => {}
        }
    }
}

/// Waits for a submission, and brings its session to its end. There is no ledger before. Returns the exit code;
/// nothing: look for another session, perhaps in another log.
fn next_session(
    args: &Args,
    instance: &Instance,
    crew: &mut Crew,
    rotation: &mut LogRotation,
    said_waiting: &mut bool,
) -> Result<Option<u8>, Error> {
    let mut watch = None;
    // The log's length; `reported`: what it holds is read back.
    let mut rest = Lasting::default();
    loop {
        service_manager::beat();
        if let Some(signal) = signals::aborted_by() {
            return Ok(Some(signal_exit_code(signal)));
        }
        // Before the look: what was accepted before the signal is still processed.
        let draining = signals::is_asked_to_end();
        rotation.heed();
        let log_len = match instance.checked_log_len() {
            Err(Error::LogReplaced) => return Ok(None),
            checked => checked?,
        };
        // Read back again only once nobody writes to it any more, as one who restores it.
        let is_another = rest.lasts(log_len) >= TICK && !rest.reported;
        let found = objects::find_ledger(instance.directory())?.map(|ledger| ledger.session());
        if watch.is_none() || is_another || found.is_some() {
            rest.reported = true;
            let opened = match Journal::open(instance, args.durable) {
                // Else it is another log's session, and that log is gone.
                Err(Error::LogReplaced) if instance.is_log_replaced() => return Ok(None),
                opened => opened?,
            };
            match opened {
                Opened::Session(journal, rebuilt) => {
                    drop(watch); // else every write to the log takes longer
                    return balance(args, *journal, rebuilt, crew, rotation);
                }
                Opened::Remains => {
                    common::note!(
                        "loadbalancer: the session was complete; removed what a killed process left"
                    );
                    if args.durable {
                        instance.log().sync_data().map_err(Error::Log)?;
                    }
                    if !args.serve {
                        let code = found.map(|session| balance::exit_code(instance, session));
                        return code.transpose().map(|code| code.or(Some(0)));
                    }
                }
                Opened::Nothing => {}
            }
        }
        if draining {
            balance::tell_draining(0);
            return Ok(Some(0));
        }
        if rotation.is_due(log_len) {
            match aside::rotate(instance, args.durable) {
                Ok(Some(name)) => {
                    common::note!("loadbalancer: the log is now {}; serving on", name.display());
                    return Ok(None);
                }
                Ok(None) => continue, // a session has begun
                Err(Error::LogReplaced) if instance.is_log_replaced() => return Ok(None),
                Err(error) => {
                    common::tell!("loadbalancer: the log is not rotated: {error}");
                    rotation.fail(log_len);
                }
            }
        }
        if watch.is_none() {
            if args.no_wait {
                common::note!("loadbalancer: nothing is unfinished in {LOG}");
                return Ok(Some(0));
            }
            if once(said_waiting) {
                let submit = advice::command("client", "'TEXT;COUNT'");
                common::note!("loadbalancer: waiting for a submission: `{submit}`");
            }
        }
        let look_again = crew.tend(instance, None)?;
        service_manager::ready();
        service_manager::status_now("waiting for a submission");
        match &watch {
            // Look once more: what came before is not seen.
            None => watch = Some(Watch::new(instance.log())),
            Some(watch) => {
                let limit = look_again.saturating_duration_since(Instant::now());
                watch.wait(limit.min(service_manager::sleep_limit()))?;
            }
        }
    }
}

/// Brings a session to its end. Nothing: look for another one.
fn balance(
    args: &Args,
    mut journal: Journal<'_>,
    rebuilt: bool,
    crew: &mut Crew,
    rotation: &mut LogRotation,
) -> Result<Option<u8>, Error> {
    let at = journal.cursors()?;
    if rebuilt {
        // It is read back already, whoever finishes it.
        common::note!(
            "loadbalancer: resuming the session in {LOG}: {} of {} messages are logged to their last line",
            at.base,
            at.messages
        );
    }
    match journal.set_workers(args.workers) {
        // Its first submission was taken back.
        Err(Error::SessionEnded) if journal.cursors()?.submissions == 0 => return Ok(None),
        Err(Error::SessionEnded) => {
            // Only totals were missing, and workers started by hand have been quicker.
            if !args.serve {
                common::note!("loadbalancer: the session is complete");
            }
            journal.sync_if_durable()?;
            return balance::exit_code(journal.instance(), journal.ledger().session()).map(Some);
        }
        set => set?,
    }
    if let Some(workers) = at.workers().filter(|_| !rebuilt) {
        common::note!(
            "loadbalancer: taking over the session in {LOG} from a load balancer that ended: {} of {} messages are \
             executed",
            balance::executed(journal.ledger(), workers),
            at.messages
        );
    }
    queue::remove_all(journal.instance(), Some(journal.ledger()), |k| {
        k.get() > args.workers.get()
    })?;
    crew.begin_session(journal.ledger());
    match Balancer::new(journal, args.workers, crew, args.serve, rotation)?.run() {
        Err(Error::SessionEnded) => Ok(None),
        ended => ended.map(Some),
    }
}
