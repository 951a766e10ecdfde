//! `cargo xtask crash`: tools that could find us wrong.
#![forbid(unsafe_code)]

mod counts;
mod errors;
mod exhaustive;
mod findings;
mod flips;
mod handler;
mod lanes;
mod limits;
mod mutants;
mod random;
mod removed;
mod rounds;
mod violation;
mod witness;

use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use common::error::{exit, signal_exit_code};
use common::fence::signals;
use tests::{Binaries, Profile, Programs};

/// Kill processes wherever they can be killed, and compare the log with an undisturbed one's.
///
/// Without an option that names a tool: kills at system calls (the quick set), a sample of failing ones, and `--removed`.
#[derive(Parser)]
#[command(name = "crash", bin_name = "cargo xtask crash", version)]
#[command(group(ArgGroup::new("drawn").args(["random", "flips"]).multiple(true)))]
// Those that have nothing to do with points.
#[command(group(
    ArgGroup::new("elsewhere").args(["removed", "random", "flips", "limits", "mutants"]).multiple(true)
))]
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
    tests::end_with_signals();
    let passed = run(&args);
    if let Some(signal) = signals::aborted_by() {
        return ExitCode::from(signal_exit_code(signal));
    }
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::VERIFY),
        Err(why) => {
            common::tell!("crash: {why}");
            ExitCode::from(exit::TROUBLE)
        }
    }
}

/// Whether all that was asked for has passed; an error if the programs cannot be built, or a report cannot be written.
fn run(args: &Args) -> Result<bool, String> {
    // The sabotaged ones are built elsewhere.
    let programs = || Binaries::or_built(args.programs.as_ref(), Profile::Release, Programs::All);
    let kills = |programs| heeding_ctrl_c(|| exhaustive::run(&args.exhaustive, programs));
    let errors = |what, programs| heeding_ctrl_c(|| errors::run(what, &args.exhaustive, programs));
    let mut passed = Vec::new();
    if args.errors.errors {
        passed.push(errors(&args.errors, programs()?)?);
    }
    if args.random.random {
        let programs = programs()?;
        // Built as long as Ctrl-C ends everything at once, and not in a round that is to be over soon.
        let _ = Binaries::unruly();
        passed.push(heeding_ctrl_c(|| random::run(&args.rounds, programs))?);
    }
    if args.flips.flips {
        let programs = programs()?;
        passed.push(heeding_ctrl_c(|| flips::run(&args.rounds, programs))?);
    }
    if args.limits.limits {
        passed.push(limits::run(&args.limits, programs()?)?);
    }
    if args.mutants.mutants {
        passed.push(mutants::run(&args.mutants)?);
    }
    if args.removed.removed {
        passed.push(removed::run(programs()?)?);
    }
    if passed.is_empty() {
        passed.push(kills(programs()?)?);
        if !args.exhaustive.is_alone() {
            passed.push(errors(&errors::Args::sample(), programs()?)?);
            passed.push(removed::run(programs()?)?);
        }
    }
    Ok(passed.into_iter().all(|passed| passed))
}

/// Plays something. From now on Ctrl-C is heeded between two looks at what is played, so that nothing is left.
/// Once it has come, nothing is played any more.
fn heeding_ctrl_c(play: impl FnOnce() -> Result<bool, String>) -> Result<bool, String> {
    // Then as before for a child's end, which is to interrupt nothing here.
    if let Err(error) = signals::watch(1).and_then(|()| signals::start_clean()) {
        common::tell!("crash: cannot watch for Ctrl-C: {error}");
    }
    if is_interrupted() { Ok(false) } else { play() }
}

/// Prints a report, or a part of one. A closed pipe is no error, a full disk is.
fn print(text: &str) -> Result<(), String> {
    lbctl::terminal::print(text).map_err(|error| error.to_string())
}

/// Whether Ctrl-C has come: then nobody is to blame for anything.
fn is_interrupted() -> bool {
    signals::aborted_by().is_some()
}
