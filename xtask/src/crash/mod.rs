//! `cargo xtask crash`: tools that could find us wrong.

mod exhaustive;
mod limits;
mod mutants;
mod random;
mod removed;
mod witness;

use std::process::ExitCode;

use tests::{Binaries, Profile};

/// Which of the tools to run; without any of them: kills at system calls (the quick
/// set), and `--removed`.
#[derive(clap::Args)]
#[group(skip)] // every tool calls its arguments Args
pub(crate) struct Args {
    #[command(flatten)]
    exhaustive: exhaustive::Args,
    #[command(flatten)]
    removed: removed::Args,
    #[command(flatten)]
    random: random::Args,
    #[command(flatten)]
    limits: limits::Args,
    #[command(flatten)]
    mutants: mutants::Args,
    /// Use programs that were built elsewhere.
    #[arg(long, value_name = "DIR", value_parser = crate::programs(), conflicts_with = "mutants")]
    programs: Option<Binaries>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if let Some(code) = exhaustive::become_traced(&args.exhaustive) {
        return ExitCode::from(code);
    }
    crate::interrupt::watch();
    let programs = || crate::programs_or_built(args.programs.as_ref(), Profile::Release);
    let runs = [
        args.random.random.then(|| random::run(&args.random, programs())),
        args.limits.limits.then(|| limits::run(&args.limits, programs())),
        args.mutants.mutants.then(|| mutants::run(&args.mutants)),
        args.removed.removed.then(|| removed::run(programs())),
    ];
    let mut asked = runs.into_iter().flatten().peekable();
    let passed = if asked.peek().is_some() {
        asked.all(|passed| passed)
    } else if args.exhaustive.is_alone() {
        exhaustive::run(&args.exhaustive, programs())
    } else {
        exhaustive::run(&args.exhaustive, programs()) & removed::run(programs())
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::from(common::error::exit::VERIFY) }
}
