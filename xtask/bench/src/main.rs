//! `cargo xtask bench`: how fast we are, as ratios within one run.
//!
//! Where the figures come from, and what makes them fair, is said where each is made:
//!
//! - [`contest`]: throughput against the limit and others, interleaved: of one submission, and of a file of lines;
//! - [`limit`], [`baseline`], [`rivals`] and [`page_cache`]: what we are compared with, on what ground;
//! - [`latency`] and [`ping_pong`]: one message at a time;
//! - [`resources`] and [`tracer`]: memory and system calls;
//! - [`idle`] and [`startup`];
//! - [`watched`]: beside `lbctl watch`;
//! - [`work`]: with a COMMAND, against other ways to run one for each line;
//! - [`goals`]: which of them we want to meet.
//!
//! Every log is judged ([`judge`]) after the clock has stopped; a wrong one ends the run with exit
//! code 4. The product is a release build unless `--programs` names another one; `bench`, which is also
//! the baselines, is optimised in every profile (the workspace's `Cargo.toml`). Medians, not means, since everything else on the machine only ever adds time.
#![forbid(unsafe_code)]

mod baseline;
mod case;
mod contest;
mod contestant;
mod failure;
mod goal;
mod goals;
mod idle;
mod ipc;
mod job;
mod judge;
mod latency;
mod launch;
mod limit;
mod page_cache;
mod ping_pong;
mod plan;
mod plot;
mod report;
mod resources;
mod rivals;
mod spread;
mod startup;
mod subprocess;
mod tables;
mod texts;
mod tracer;
mod turns;
mod watched;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tests::{Binaries, Profile, Programs, TempDir};

use case::{Case, Shape};
use failure::Failure;
use plan::Plan;
use report::{Machine, Report};
use rivals::Rivals;
use subprocess::Subprocess;

/// Measure speed, as ratios within one run.
#[derive(Debug, Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench", version)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// A small set, as for CI.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All combinations of sizes, texts and N, and 10^8 messages: needs 15 GB of memory.
    #[arg(long)]
    full: bool,
    /// Measured rounds of each case.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(5..))]
    rounds: u16,
    /// Only these sections.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<Section>,
    /// Only these cases instead of the set: `1000000x6x3` is messages x bytes x N, with one text. A further `xlines` makes it
    /// a file of lines with a text each, as `1000000x6-12x3xlines`; `xlines8` one that 8 clients read.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<Case>,
    /// Measure programs that were built elsewhere, as to compare two builds.
    #[arg(long, value_name = "DIR", value_parser = Binaries::parser())]
    programs: Option<Binaries>,
    /// Where the logs are written (up to gigabytes, removed at once); without it the system's
    /// directory for temp files.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes the report as JSON to a file, or with `-` to stdout instead of the tables.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the throughput of everyone.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(subcommand)]
    subprocess: Option<Box<Subprocess>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    Throughput,
    Lines,
    Latency,
    Memory,
    SystemCalls,
    Idle,
    Startup,
    Watched,
    Work,
}

impl Args {
    fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    /// What was asked for beside sections that have no use for it.
    fn in_vain(&self) -> Option<&'static str> {
        let [throughput, lines] = [Section::Throughput, Section::Lines].map(|it| self.wants(it));
        if self.plot.is_some() && !throughput {
            return Some("--plot draws the throughput, which --only leaves out");
        }
        let in_vain = !self.cases.is_empty() && !throughput && !lines;
        in_vain.then_some("--case is of throughput and lines, which --only leaves out")
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(why) = args.in_vain() {
        Args::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    if let Some(subprocess) = &args.subprocess {
        return subprocess.run();
    }
    tests::end_with_signals();
    match measure(&args).and_then(|report| publish(&args, &report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            common::tell!("bench: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn measure(args: &Args) -> Result<Report, Failure> {
    if let Some(dir) = &args.dir {
        let dir = dir.canonicalize().map_err(Failure::system(dir.display().to_string()))?;
        // Fails only when it was set before.
        let _ = tempfile::env::override_temp_dir(&dir);
    }
    // Nothing is in it. But once a signal ends everything, nobody gets past the end of a temp directory: what that does
    // to the programs is no failure to tell of.
    let _guard = TempDir::new("bench-").map_err(Failure::system("a temp directory"))?;
    let mut plan = match (args.quick, args.full) {
        (true, _) => Plan::quick(),
        (_, true) => Plan::full(),
        _ => Plan::usual(),
    };
    if !args.cases.is_empty() {
        (plan.cases, plan.lines) = args.cases.iter().partition(|case| case.shape == Shape::Many);
    }
    let rounds = usize::from(args.rounds);
    let wants = |section| args.wants(section);

    let binaries = Binaries::or_built(args.programs.as_ref(), Profile::Release, Programs::All)
        .map_err(Failure::Build)?;
    let contests = plan.cases.len() + plan.lines.len() + plan.work.len();
    let steps = contests * (rounds + 1) + 6;
    // On stderr, and only if that is a terminal.
    let progress = ProgressBar::new(steps as u64).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} [{elapsed}] {msg}") {
        progress.set_style(style);
    }
    let contests = |cases: &[Case], rivals: &Rivals| {
        let results =
            cases.iter().map(|&case| contest::run(case, rounds, binaries, rivals, &progress));
        results.collect::<Result<Vec<_>, _>>()
    };
    let has_lines = wants(Section::Lines) && !plan.lines.is_empty();
    // Older programs of `--programs` have none.
    let has_watch = wants(Section::Watched) && binaries.path("lbctl").exists();
    let mut report = Report {
        version: report::VERSION,
        machine: Machine::this(),
        programs: args.programs.as_ref().map(|programs| programs.directory().to_owned()),
        rounds,
        throughput: wants(Section::Throughput)
            .then(|| contests(&plan.cases, &Rivals::default()))
            .transpose()?,
        lines: has_lines.then(|| contests(&plan.lines, &Rivals::build()?)).transpose()?,
        latency: step(&progress, "latency", wants(Section::Latency), || {
            latency::run(plan.latency_messages, plan.workers, binaries)
        })?,
        memory: step(&progress, "memory", wants(Section::Memory), || {
            resources::memory(&plan.memory, binaries)
        })?,
        system_calls: step(&progress, "system calls", wants(Section::SystemCalls), || {
            resources::system_calls(&plan.system_calls, binaries)
        })?,
        idle: step(&progress, "idle", wants(Section::Idle), || {
            idle::run(plan.idle_span, plan.workers, binaries)
        })?,
        startup: step(&progress, "start-up", wants(Section::Startup), || {
            startup::run(plan.startup_rounds, plan.workers, binaries)
        })?,
        watched: step(&progress, "beside lbctl watch", has_watch, || {
            watched::run(plan.watched, rounds, binaries)
        })?,
        work: wants(Section::Work)
            .then(|| work::run(&plan.work, rounds, binaries, &progress))
            .transpose()?,
        goals: Vec::new(),
    };
    report.goals = goals::goals(&report);
    Ok(report)
}

/// A section that is one step of the progress.
fn step<T>(
    progress: &ProgressBar,
    name: &'static str,
    is_wanted: bool,
    measure: impl FnOnce() -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    progress.set_message(name);
    let measured = is_wanted.then(measure).transpose();
    progress.inc(1);
    measured
}

fn publish(args: &Args, report: &Report) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report).map_err(Failure::system("the report"))?;
    let json = json + "\n";
    let write = |file: &Path, text: &str| {
        std::fs::write(file, text).map_err(Failure::system(file.display().to_string()))
    };
    if let (Some(file), Some(results)) = (&args.plot, &report.throughput) {
        write(file, &plot::draw(results))?;
    }
    let text = match &args.json {
        Some(file) if file.as_os_str() == "-" => json,
        file => {
            file.as_deref().map_or(Ok(()), |file| write(file, &json))?;
            tables::render(report)
        }
    };
    lbctl::terminal::print(&text).map_err(Failure::Report)
}
