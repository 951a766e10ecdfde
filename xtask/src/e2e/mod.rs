//! `cargo xtask e2e`: runs the whole system in a temp directory, and checks everything about it.

mod expected;
mod findings;
mod interleaving;
mod letters;
mod report;
mod scene;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;
use std::time::Instant;

use clap::value_parser;
use common::error::{Error, exit};
use common::grammar::rotation::Workers;
use common::grammar::submission::Submission;
use common::program::work::Work;
use lbctl::terminal;
use tests::{Binaries, Profile, Programs, Sandbox};

use report::{Report, Run};
use scene::{Order, RunPlan};

/// What to run, and how often. What it does is said where the task is listed.
#[derive(clap::Args)]
#[command(before_help = "\
Examples:
  One client, three workers:
      cargo xtask e2e --workers 3 --input \"Halo A;10\"
  The load balancer first and workers by hand, ten times:
      cargo xtask e2e --workers 3 --input \"a;5\" --order lb-first --hand-started --runs 10
  With work:
      cargo xtask e2e --workers 2 --input \"a;4\" --retries 3 -- sh -c 'echo \"$1\"' sh {}")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// How many workers, from 1 to 256.
    #[arg(long, value_name = "N")]
    workers: Workers,
    /// What each client submits; may be given several times.
    #[arg(long = "input", value_name = "TEXT;COUNT", required = true, allow_hyphen_values = true)]
    inputs: Vec<Submission>,
    /// So many times, each in a directory of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    runs: u32,
    /// So many clients at once, each with the same input.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=64))]
    clients: u16,
    /// Who is started first.
    #[arg(long, value_enum, default_value_t = Order::ClientFirst)]
    order: Order,
    /// Start the workers here, and the load balancer with --no-spawn.
    #[arg(long)]
    hand_started: bool,
    /// Keep the directories, and name them.
    #[arg(long)]
    keep: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Append the report as Markdown, as for GitHub's job summary.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Build the programs with optimisations.
    #[arg(long)]
    release: bool,
    /// Run the programs of this directory instead of building them.
    #[arg(long, value_name = "DIR", conflicts_with = "release", value_parser = Binaries::parser())]
    programs: Option<Binaries>,
    /// A run that takes longer has failed [default: 60, and 1 for each 100,000 messages; with COMMAND 1 for each].
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    #[command(flatten)]
    work: Work,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    tests::end_with_signals();
    let outcome = match work(&args.work) {
        Ok(work) => run_all(args, work).map_err(|error| (error, exit::TROUBLE)),
        Err(error) => Err((error.to_string().into(), error.exit_code())),
    };
    ExitCode::from(outcome.unwrap_or_else(|(error, code)| {
        common::tell!("e2e: {error}");
        code
    }))
}

/// What is to be done with each message, as it is called in any directory.
fn work(work: &Work) -> Result<Work, Error> {
    let here = |path: &Path| absolute(path).map_err(Error::system("getcwd"));
    let mut work = work.clone();
    if let Some(program) = work.command.first_mut()
        && program.as_encoded_bytes().contains(&b'/')
    {
        *program = here(Path::new(program))?.into();
    }
    work.joblog = work.joblog.as_deref().map(here).transpose()?;
    work.check()?;
    Ok(work)
}

/// Returns the exit code.
fn run_all(args: &Args, work: Work) -> Result<u8, Box<dyn std::error::Error>> {
    let profile = if args.release { Profile::Release } else { Profile::Dev };
    let plan = RunPlan {
        binaries: Binaries::or_built(args.programs.as_ref(), profile, Programs::System)?,
        workers: args.workers,
        inputs: &args.inputs,
        clients: args.clients.into(),
        order: args.order,
        hand_started: args.hand_started,
        work,
        limit: args.limit,
    };
    let mut report = Report::new(&plan);
    if !args.json {
        terminal::print(&format!("{}\n", report.title()))?;
    }
    for number in 1..=args.runs {
        let run = run_once(&plan, number, args.keep);
        if !args.json {
            // Of many good runs, the last one is shown in full.
            let short = run.findings.passed && number < args.runs;
            let text = if short { run.short_text(args.runs) } else { run.text(args.runs) };
            terminal::print(&text)?;
        }
        report.push(run);
    }
    if args.json {
        terminal::print_json(&report)?;
    }
    if let Some(path) = &args.summary {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(report.markdown().as_bytes()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(match report.passed {
        false => exit::VERIFY,
        true if report.dead > 0 => exit::PARTLY,
        true => 0,
    })
}

/// One run in a directory of its own. What failed is reported on stderr with all that is known.
fn run_once(plan: &RunPlan<'_>, number: u32, keep: bool) -> Run {
    let mut sandbox = Sandbox::new(plan.binaries);
    if keep {
        sandbox.keep();
    }
    let scene = plan.play(sandbox);
    let start = Instant::now();
    let findings = findings::examine(plan, &scene);
    if !findings.passed {
        let ledger = lbctl::inspect::dump(&scene.sandbox.dir());
        common::tell!("{}ledger: {ledger:#}", scene.sandbox.report());
    }
    Run {
        number,
        seconds: scene.duration.as_secs_f64(),
        check_seconds: start.elapsed().as_secs_f64(),
        directory: keep.then(|| scene.sandbox.dir()),
        findings,
    }
}
