//! client - submit messages to the load balancer of a directory
//!
//! # Synopsis
//! ```text
//! client [--dir DIR] [--quiet] [--durable] [--wait] [TEXT;COUNT]...
//! ```
//!
//! # Description
//!
//! Submits each `TEXT;COUNT` through shared memory: COUNT messages that carry TEXT. Without
//! arguments it reads standard input, a submission a line, until its end. The load balancer may
//! come later. Prints `accepted TEXT;COUNT` for each one that is logged and not to be lost. With
//! `--wait` it ends once all of its messages are executed.
//!
//! # Exit status
//!
//! 0 all accepted (and executed, with `--wait`); 1 some accepted, some not, or some dead; 2 none, for they were invalid; 3 IPC or file trouble:
//! those that it printed are accepted. SIGINT, SIGTERM and SIGHUP kill it.
#![forbid(unsafe_code)]

mod args;
mod awaited;
mod feed;
mod mistake;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use common::error::{Error, exit, report};
use common::fence::signals;
use common::grammar::submission::Submission;
use common::instance::Instance;
use common::instance::objects;
use common::instance::role::Role;
use common::program::advice::{self, LOG};
use common::program::help;
use common::program::input::Input;
use common::program::say;
use common::session::end;

use args::Args;
use awaited::Awaited;
use feed::Feed;

fn main() -> ExitCode {
    report("client", run(&help::parse()))
}

fn run<'a>(args: &'a Args) -> Result<u8, Error> {
    advice::give(&args.dir, None);
    if args.quiet {
        say::be_quiet();
    }
    signals::start_clean().map_err(Error::system("sigaction"))?;
    // Arguments are judged before anything is touched; lines of standard input as they come.
    let parse = |(number, argument): (usize, &'a OsString)| {
        Submission::parse(argument.as_bytes()).inspect_err(|error| {
            let meant = mistake::meant(&args.submissions);
            let meant = meant.map_or_else(String::new, |meant| format!("; {meant}"));
            let typed = mistake::typed(argument);
            common::tell!(
                "client: argument {number}{typed}: {error}; nothing was submitted{meant}"
            );
        })
    };
    let Ok(mut batch) = (1..).zip(&args.submissions).map(parse).collect::<Result<Vec<_>, _>>()
    else {
        return Ok(exit::USAGE);
    };
    let mut input = args.submissions.is_empty().then(|| Input::new(io::stdin().lock()));
    let mut instance = Instance::open(&args.dir)?;
    if input.is_some() && io::stdin().is_terminal() {
        common::note!(
            "client: reading submissions from the terminal, one a line, as `Halo A;10`; Ctrl-D ends"
        );
    }
    let mut unread = 0;
    let mut awaited = args.wait.then(|| Awaited::new(&instance)).transpose()?;
    let mut left = &batch[..];
    let (outcome, journal) = loop {
        // As long as this is held, a load balancer waits for more.
        instance.hold(Role::Client)?;
        let mut feed =
            Feed::new(&instance, args.quiet, args.durable, &mut unread, awaited.as_mut());
        let outcome = loop {
            if let Err(error) = feed.submit(&mut left) {
                break Err(error);
            }
            left = &[];
            match input.as_mut().map_or(Ok(None), Input::read_batch) {
                Ok(Some(next)) => batch = next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            left = &batch;
        };
        match outcome {
            // There is no session, and the log is another one by now.
            Err(Error::LogReplaced) if end::is_log_left(&instance)? => {
                drop(feed);
                instance.reopen()?;
            }
            outcome => break (outcome, feed.finish()),
        }
    };
    if let (Err(error), Some(first)) = (&outcome, left.first()) {
        let left = left.len();
        match error {
            Error::LogUnclear(_) => common::tell!(
                "client: may have been accepted: {first} ({left} in all); whether it was is shown by {LOG} \
                 once it can be written again"
            ),
            _ => common::tell!("client: not accepted: {first} ({left} in all)"),
        }
    }
    let released = instance.release(Role::Client);
    // Now the balancer need not wait for more. It may sleep in a session that this client has not seen.
    if let Ok(Some(ledger)) = objects::find_ledger(instance.directory()) {
        ledger.doorbell().ring();
    }
    released?;
    outcome?;
    let code = input.map_or(0, |input| input.exit_code());
    if unread > 0 {
        common::tell!("client: {unread} more were accepted after standard output was closed");
    }
    if awaited.is_none()
        && let Some(journal) = &journal
    {
        let hint = instance.no_balancer(journal.cursors()?.workers())?;
        // Or it is through with it by now.
        if !hint.is_empty() && !journal.cursors()?.is_ended() {
            common::note!("client: accepted{hint}");
        }
    }
    let waited = awaited.map_or(Ok(0), |awaited| awaited.wait(&instance, journal));
    waited.map(|waited| code.max(waited))
}
