//! worker - execute the messages that the load balancer of a directory sends to number K
//!
//! # Synopsis
//! ```text
//! worker [--dir DIR] [--quiet] [--echo] K
//! worker [--dir DIR] [--quiet] [--lines] [--retries R] [--backoff TIME] [--timeout TIME] [--grace TIME] [--joblog FILE]
//!        K -- COMMAND [ARG]...
//! ```
//!
//! # Description
//!
//! Takes frames from its message queue, executes each message (by COMMAND, if there is one) and counts it in the ledger; then
//! logs all lines that are ready, its own and the others'. When the load balancer asks, logs its
//! total and ends. Started by hand, it may come before the load balancer, and outlives one that dies:
//! the next one finds it waiting. One that the load balancer has started dies with it.
//!
//! COMMAND is started for each message, without a shell, in a process group of its own; or, with `--lines`, once, and it
//! answers a line with a line. Exit code 0 and `ok` are success; 65, 100 and `dead` are the end of the message; 126 and
//! 127 mean that COMMAND cannot be run, and count nothing; anything else is tried again, as often as `--retries` says.
//! Messages that are given up are written to `sistem.dead`.
//!
//! # Environment of COMMAND
//!
//! `LB_ID` names the message, the same in every attempt; `LB_INDEX` is its number in its submission, `LB_WORKER` is K,
//! `LB_ATTEMPT` counts from 1. With `--lines` only `LB_WORKER` is set: the rest is in each line.
//!
//! # Exit status
//!
//! 0 total logged, or left to the load balancer to log; 2 usage, or K above the load balancer's N; 3 IPC,
//! peer or file trouble; 130, 143, 129 ended by SIGINT, SIGTERM, SIGHUP.
#![forbid(unsafe_code)]

mod args;
mod progress;
mod serve;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::process::ExitCode;

use common::error::{Error, exit, report, signal_exit_code};
use common::fence::signals;
use common::instance::Instance;
use common::instance::directory::Directory;
use common::instance::role::Role;
use common::program::advice;
use common::program::help;
use common::program::say;
use common::program::service_manager;
use common::program::work::Work;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

use args::Args;

/// What is to be done with messages.
struct Task {
    by_hand: bool,
    echo: bool,
    durable: bool,
    work: Work,
}

fn main() -> ExitCode {
    report("worker", run(help::parse()))
}

fn run(args: Args) -> Result<u8, Error> {
    advice::give(&args.dir, None);
    if args.quiet {
        say::be_quiet();
    }
    say::stand_beside_bar(args.beside_bar);
    service_manager::begin();
    signals::start_clean().map_err(Error::system("sigaction"))?;
    if let Some(parent) = args.spawned_by {
        // SIGKILL also ends a stopped worker. A parent that died before is not noticed: compare.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::system("prctl"))?;
        let found = parent_id();
        // A dead one's number has no program file, also while it is a zombie: this worker ends with it.
        if found != parent && fs::read_link(format!("/proc/{parent}/exe")).is_err() {
            return Ok(exit::TROUBLE);
        }
        if found != parent {
            let why = format!(
                "its parent is process {found}, not the load balancer (process {parent}): what --worker-program names \
                 must exec the worker"
            );
            return Err(Error::Worker { worker: args.worker.get(), why });
        }
    }
    // In a group of its own it is no terminal's foreground, and may write there all the same (`stty tostop`).
    SigSet::from(Signal::SIGTTOU).thread_block().map_err(Error::system("sigprocmask"))?;
    signals::watch(1).map_err(Error::system("sigaction"))?;

    args.work.check()?;
    if args.work.is_any() {
        // What COMMAND leaves comes here, where it is found.
        prctl::set_child_subreaper(true).map_err(Error::system("prctl"))?;
    }
    let mut instance = Instance::of(directory(&args)?)?;
    let by_hand = args.spawned_by.is_none();
    let task = Task { by_hand, echo: args.echo, durable: args.durable, work: args.work };
    // Nobody else says what one waits for that was started by hand.
    let mut told_waiting = !by_hand;
    loop {
        instance.hold(Role::Worker(args.worker))?;
        service_manager::ready();
        match serve::serve(&instance, args.worker, &task, &mut told_waiting) {
            // No session began in the log before, or it was set aside.
            Err(Error::LogReplaced) if serve::find_unfinished(&instance)?.is_none() => {
                instance.reopen()?;
            }
            Err(Error::Aborted(signal)) => {
                service_manager::stopping();
                return Ok(signal_exit_code(signal));
            }
            outcome => return outcome.map(|()| 0),
        }
    }
}

/// The load balancer hands over the directory that it has open, as standard input: whatever its path
/// names by now. A worker program that is a wrapper may have closed that.
fn directory(args: &Args) -> Result<Directory, Error> {
    let handed = io::stdin().as_fd().try_clone_to_owned().map(File::from).ok();
    let is_directory = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_dir());
    match handed.filter(|file| args.spawned_by.is_some() && is_directory(file)) {
        Some(file) => Directory::of(&args.dir, file),
        None => Directory::open(&args.dir),
    }
}
