//! cluster - the same client, load balancer and workers on many hosts, over NATS JetStream
//!
//! # Synopsis
//! ```text
//! cluster client       [SERVERS] [--quiet] [--wait] [TEXT;COUNT]...
//! cluster loadbalancer [SERVERS] [--dir DIR] [--serve] [--run LIST] [--take-over] [--durable] … N [-- COMMAND [ARG]...]
//! cluster worker       [SERVERS] [--dir DIR] [--echo] [--take-over] … K [-- COMMAND [ARG]...]
//! cluster status       [SERVERS] [--json]
//! cluster release      [SERVERS] K...
//! cluster inspect      [SERVERS]
//! ```
//!
//! # Description
//!
//! An instance is a stream that three servers keep. A client appends submissions to it. Whose turn a message is follows
//! from the submissions before it, so a worker reads what is its own, executes it, and appends how far it has come. The
//! log is a function of the stream: a balancer on each host writes its copy, and all copies are the same bytes. See
//! `docs/cluster.md`.
//!
//! | idea | file |
//! |---|---|
//! | three calls are asked of the replicated log | [`engine`], [`nats`] |
//! | what is in it, and what that says | [`entry`], [`state`] |
//! | an append is certain before anyone goes on | [`put`] |
//! | one writer for each worker number | [`hold`] |
//! | what a worker is to execute | [`shares`] |
//! | the log is a function of the stream | [`scribe`], [`files`] |
//! | N, and the end | [`balance`] |
//!
//! # Exit status
//!
//! 0 done; 1 part of it failed; 2 usage; 3 trouble with the servers, a worker or a file; 130, 143, 129 ended by SIGINT,
//! SIGTERM, SIGHUP.
#![forbid(unsafe_code)]

mod args;
mod balance;
mod client;
mod connection;
mod crew;
mod engine;
mod entry;
mod files;
mod hold;
mod in_hand;
mod loadbalancer;
mod monitor;
mod name;
mod nats;
mod numbers;
mod put;
mod runtime;
mod scribe;
mod shares;
mod show;
#[cfg(test)]
mod simulation;
mod state;
mod submit;
mod worker;

use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::ExitCode;

use common::error::{Error, exit, report, signal_exit_code};
use common::fence::signals;
use common::program::advice;
use common::program::help;
use common::program::say;
use nix::sys::prctl;
use nix::sys::signal::Signal;

use args::{Args, Role};

fn main() -> ExitCode {
    report("cluster", run(&help::parse::<Args>().role))
}

fn run(role: &Role) -> Result<u8, Error> {
    signals::start_clean().map_err(Error::system("sigaction"))?;
    let here = Path::new(".");
    let (dir, is_quiet) = match role {
        Role::Client(args) => (here, args.quiet),
        Role::Loadbalancer(args) => (&*args.dir, args.quiet),
        Role::Worker(args) => (&*args.dir, args.quiet),
        Role::Status(_) | Role::Release(_) | Role::Inspect(_) => (here, false),
    };
    advice::give(dir, None);
    if is_quiet {
        say::be_quiet();
    }
    if let Role::Worker(args) = role {
        if let Some(parent) = args.spawned_by {
            prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::system("prctl"))?;
            if parent_id() != parent {
                return Ok(exit::TROUBLE); // it has died already
            }
        }
        args.work.check()?;
        if args.work.is_any() {
            // What COMMAND leaves comes here, where it is found.
            prctl::set_child_subreaper(true).map_err(Error::system("prctl"))?;
        }
    }
    signals::watch(1).map_err(Error::system("sigaction"))?;
    let outcome = match role {
        Role::Client(args) => client::run(args),
        Role::Loadbalancer(args) => loadbalancer::run(args),
        Role::Worker(args) => worker::run(args),
        Role::Status(args) => show::status(args),
        Role::Release(args) => show::release(args),
        Role::Inspect(args) => show::inspect(args),
    };
    match outcome {
        Err(Error::Aborted(signal)) => Ok(signal_exit_code(signal)),
        outcome => outcome,
    }
}
