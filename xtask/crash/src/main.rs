//! `cargo xtask crash`: tools that could find us wrong.
#![forbid(unsafe_code)]

mod errors;
mod exhaustive;
mod flips;
mod handler;
mod limits;
mod mutants;
mod random;
mod removed;
mod rounds;
mod witness;

use std::process::ExitCode;

use clap::Parser;
use common::error::{exit, signal_exit_code};
use common::fence::signals;
use tests::{Binaries, Profile};

/// Kill processes wherever they can be killed, and compare the log with an undisturbed one's.
///
/// Without an option that names a tool: kills at system calls (the quick set), a sample of failing ones, and `--removed`.
#[derive(Parser)]
#[command(name = "crash", bin_name = "cargo xtask crash", version)]
struct Args {
    #[command(flatten)]
    exhaustive: exhaustive::Args,
    #[command(flatten)]
    errors: errors::Args,
    #[command(flatten)]
    removed: removed::Args,
    #[command(flatten)]
    random: random::Args,
    #[command(flatten)]
    flips: flips::Args,
    #[command(flatten)]
    rounds: rounds::Args,
    #[command(flatten)]
    limits: limits::Args,
    #[command(flatten)]
    mutants: mutants::Args,
    /// Use programs that were built elsewhere.
    #[arg(long, value_name = "DIR", value_parser = Binaries::parser(), conflicts_with = "mutants")]
    programs: Option<Binaries>,
}

fn main() -> ExitCode {
    // Some thousand times: without a look at the other arguments.
    if let Some(code) = handler::be_command() {
        return code;
    }
    let args = Args::parse();
    if let Some(code) = exhaustive::become_traced(&args.exhaustive) {
        return ExitCode::from(code);
    }
    tests::end_with_signals();
    let programs = || Binaries::or_built(args.programs.as_ref(), Profile::Release);
    let kills = || heeds_ctrl_c() && exhaustive::run(&args.exhaustive, programs());
    let errors = |what| heeds_ctrl_c() && errors::run(what, &args.exhaustive, programs());
    let runs = [
        args.errors.errors.then(|| errors(&args.errors)),
        args.random.random.then(|| heeds_ctrl_c() && random::run(&args.rounds, programs())),
        args.flips.flips.then(|| heeds_ctrl_c() && flips::run(&args.rounds, programs())),
        args.limits.limits.then(|| limits::run(&args.limits, programs())),
        args.mutants.mutants.then(|| mutants::run(&args.mutants)),
        args.removed.removed.then(|| removed::run(programs())),
    ];
    let mut asked = runs.into_iter().flatten().peekable();
    let passed = if asked.peek().is_some() {
        asked.all(|passed| passed)
    } else if args.exhaustive.is_alone() {
        kills()
    } else {
        kills() & errors(&errors::Args::sample()) & removed::run(programs())
    };
    match signals::aborted_by() {
        Some(signal) => ExitCode::from(signal_exit_code(signal)),
        None if passed => ExitCode::SUCCESS,
        None => ExitCode::from(exit::VERIFY),
    }
}

/// From now on Ctrl-C is heeded between two looks at what is played, so that nothing is left behind.
/// Returns false once it has come.
fn heeds_ctrl_c() -> bool {
    // Then as before for a child's end, which is to interrupt nothing here.
    if let Err(error) = signals::watch(1).and_then(|()| signals::start_clean()) {
        eprintln!("crash: cannot watch for Ctrl-C: {error}");
    }
    !is_interrupted()
}

/// Whether Ctrl-C has come: then nobody is to blame for anything.
fn is_interrupted() -> bool {
    signals::aborted_by().is_some()
}
