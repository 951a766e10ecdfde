//! The client as a process.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use common::error::{Error, exit, heed_signals};
use common::grammar::submission::Submission;
use common::program::input::Input;
use tokio::runtime::Runtime;

use crate::args;
use crate::entry::Subject;
use crate::nats::Nats;
use crate::put::{Waiting, read_on};
use crate::runtime;
use crate::state::{Change, State};
use crate::submit::Submitter;

const TICK: Duration = Duration::from_millis(200);
/// Nobody waits longer without a word.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &args::Client) -> Result<u8, Error> {
    let parse = |(number, argument): (usize, &OsString)| {
        Submission::parse(argument.as_bytes()).map(Submission::to_owned).inspect_err(|error| {
            common::tell!("client: argument {number}: {error}; nothing was submitted");
        })
    };
    let Ok(given) = (1..).zip(&args.submissions).map(parse).collect::<Result<Vec<_>, _>>() else {
        return Ok(exit::USAGE);
    };
    let runtime = runtime::begin()?;
    let nats = runtime.block_on(args.connection.open(heed_signals))?;
    let run = format!("{:016x}", RandomState::new().hash_one(()));
    let mut submitter = Submitter::new(nats.clone(), run, heed_signals);
    let mut code = 0;
    if given.is_empty() {
        if io::stdin().is_terminal() {
            common::note!(
                "client: reading submissions from the terminal, one a line, as `Halo A;10`; Ctrl-D ends"
            );
        }
        let mut input = Input::new(io::stdin().lock());
        let mut is_any = false;
        while let Some(batch) = input.read_batch()? {
            if !batch.is_empty() {
                is_any = true;
                submit(&runtime, &mut submitter, &batch, true, args.quiet)?;
            }
        }
        if is_any {
            submit(&runtime, &mut submitter, &[], false, args.quiet)?;
        }
        code = input.exit_code();
    } else {
        let parts: Vec<_> = given.iter().map(Submission::as_view).collect();
        submit(&runtime, &mut submitter, &parts, false, args.quiet)?;
    }
    if args.wait && submitter.last() > 0 {
        let dead = runtime.block_on(wait(nats, submitter.subject(), submitter.last()))?;
        if dead > 0 {
            let are = if dead == 1 { "message is" } else { "messages are" };
            common::tell!("client: {dead} {are} dead: see sistem.dead on any host");
            code = exit::PARTLY;
        }
    }
    Ok(code)
}

fn submit(
    runtime: &Runtime,
    submitter: &mut Submitter<Nats>,
    submissions: &[Submission<&str>],
    more: bool,
    quiet: bool,
) -> Result<(), Error> {
    let mut left = submissions.len();
    let confirm = |accepted: &[Submission<&str>]| {
        left -= accepted.len();
        if quiet || accepted.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for submission in accepted {
            lines.extend_from_slice(b"accepted ");
            submission.append_to(&mut lines);
            lines.push(b'\n');
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(&lines).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed.map_err(Error::system("accepted, but standard output")),
        }
    };
    let outcome = runtime.block_on(submitter.submit(submissions, more, confirm));
    if outcome.is_err() && left > 0 {
        let first = &submissions[submissions.len() - left];
        common::tell!(
            "client: not confirmed: {first} ({left} in all); some of the first of them may have been accepted \
             (`cluster inspect` shows what was)"
        );
    }
    outcome
}

/// Waits until all that a run has submitted is executed; `last` is its last entry. Returns how many of these messages are
/// dead.
async fn wait(nats: Nats, run: &Subject, last: u64) -> Result<u64, Error> {
    let (mut state, mut waiting) = (State::new(), Waiting::default());
    // Its messages in the session that is being read.
    let mut own: Vec<Range<u64>> = Vec::new();
    let mut dead = 0;
    let (begun, mut reported) = (Instant::now(), false);
    loop {
        if begun.elapsed() >= PATIENCE && !std::mem::replace(&mut reported, true) {
            common::note!(
                "client: waiting until all is executed: `cluster status` shows who executes, and who is silent"
            );
        }
        let batch = read_on(&nats, state.next, TICK, &mut waiting, heed_signals).await?;
        let Some(batch) = batch else { continue };
        for entry in &batch.entries {
            let before = state.session.messages;
            match state.apply(entry) {
                Change::Submitted(_) if entry.subject == *run => {
                    own.push(before..state.session.messages);
                }
                Change::Died(letter) => {
                    let is_own = own.iter().any(|own| own.contains(&letter.id.message));
                    dead += u64::from(is_own);
                }
                Change::Ended(_) => own.clear(),
                _ => {}
            }
            let frontier = state.frontier();
            state.session.forget_before(frontier);
            let is_over = own.last().is_none_or(|own| frontier >= own.end);
            if state.next > last && is_over {
                return Ok(dead);
            }
        }
    }
}
