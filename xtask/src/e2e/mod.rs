//! `cargo xtask e2e`: runs the whole system in a temp directory, and checks everything about it.

mod expected;
mod findings;
mod interleaving;
mod report;
mod scene;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::value_parser;
use common::error::exit;
use common::rotation::Workers;
use common::submission::Submission;
use tests::{Binaries, Profile, Sandbox};

use report::{Report, Run};
use scene::{Order, Plan, Scene};

/// Run the whole system in a temp directory and check its log.
///
/// Exit status: 0 everything is right; 4 something is not; 2 usage; 3 it could not be run.
#[derive(clap::Args)]
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
    #[arg(long, value_name = "DIR", conflicts_with = "release", value_parser = crate::programs())]
    programs: Option<Binaries>,
    /// A run that takes longer has failed [default: 60, and 1 for each 100,000 messages].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    crate::interrupt::watch();
    match run_all(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::VERIFY),
        Err(error) => {
            eprintln!("e2e: {error}");
            ExitCode::from(exit::TROUBLE)
        }
    }
}

fn run_all(args: &Args) -> Result<bool, String> {
    let profile = if args.release { Profile::Release } else { Profile::Dev };
    let plan = Plan {
        binaries: crate::programs_or_built(args.programs.as_ref(), profile),
        workers: args.workers,
        inputs: &args.inputs,
        clients: args.clients.into(),
        order: args.order,
        hand_started: args.hand_started,
        limit: limit(args),
    };
    let mut report = Report::new(&plan);
    if !args.json {
        anstream::println!("{}", report.title());
    }
    for number in 1..=args.runs {
        let run = run_once(&plan, number, args.keep);
        if !args.json {
            // Of many good runs, the last one is shown in full.
            let short = run.findings.passed && number < args.runs;
            let text = if short { run.short_text(args.runs) } else { run.text(args.runs) };
            anstream::print!("{text}");
        }
        report.push(run);
    }
    if args.json {
        lbctl::terminal::print_json(&report).map_err(|error| error.to_string())?;
    }
    if let Some(path) = &args.summary {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(report.markdown().as_bytes()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(report.passed)
}

fn limit(args: &Args) -> Duration {
    const MESSAGES_PER_SECOND_MIN: u64 = 100_000;
    let messages: u64 = args.inputs.iter().map(|input| u64::from(input.count())).sum();
    let messages = messages * u64::from(args.clients);
    Duration::from_secs(args.timeout.unwrap_or(60 + messages / MESSAGES_PER_SECOND_MIN))
}

/// One run in a directory of its own. What failed is reported on stderr with all that is known.
fn run_once(plan: &Plan<'_>, number: u32, keep: bool) -> Run {
    let mut sandbox = Sandbox::new(plan.binaries);
    if keep {
        sandbox.keep();
    }
    let scene = plan.play(sandbox);
    let start = Instant::now();
    let findings = findings::examine(plan, &scene);
    if !findings.passed {
        eprintln!("{}", everything_known(&scene));
    }
    Run {
        number,
        seconds: scene.duration.as_secs_f64(),
        check_seconds: start.elapsed().as_secs_f64(),
        directory: keep.then(|| scene.sandbox.dir()),
        findings,
    }
}

fn everything_known(scene: &Scene) -> String {
    let ledger = lbctl::inspect::dump(&scene.sandbox.dir());
    format!("{}ledger: {ledger:#}", scene.sandbox.report())
}
