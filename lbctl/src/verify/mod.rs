//! `lbctl verify`: checks any `sistem.log`, also one that another program wrote, and says exactly
//! what is wrong with it.

mod account;
mod balance;
mod judge;
pub mod lines;
mod report;
pub mod verdict;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use common::error::{exit, report};
use common::grammar::rotation::Workers;
use serde::Serialize;

pub use account::Account;
use judge::Judge;
use verdict::Verdict;

/// The version of what `--json` prints.
const FORMAT_VERSION: u32 = 2;
/// What standard input is called.
const STDIN: &str = "-";

/// Check any sistem.log, also one that another program wrote.
///
/// A log whose last session is not finished is right so far. Nothing but the log is looked at, so it may be one that
/// is still written to.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  Whether a log is right:
      lbctl verify sistem.log
  The same for a log that comes through a pipe, with the verdict as JSON:
      zcat sistem.log.1.gz | lbctl verify --json -",
    after_long_help = "\
Exit status:
  0  nothing is wrong
  2  wrong usage
  3  the log cannot be read, or the verdict not written
  4  something is wrong

See also:
  lbctl(1), loadbalancer(1)"
)]
pub struct Args {
    /// The log; `-` is standard input.
    log: PathBuf,
    /// N of every session; without it, it is found out from each session's lines.
    #[arg(long, value_name = "N")]
    workers: Option<Workers>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    log: &'a Path,
    seconds: f64,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// Prints the verdict on a log. Returns the exit code.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let start = Instant::now();
    let verdict = match check(&args.log, args.workers) {
        Ok(verdict) => verdict,
        Err(error) => {
            common::tell!("verify: {}: {error}; give a file that you may read", args.log.display());
            return ExitCode::from(exit::TROUBLE);
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let printed = if args.json {
        let json = Json { version: FORMAT_VERSION, log: &args.log, seconds, verdict: &verdict };
        crate::terminal::print_json(&json)
    } else {
        let name = if args.log == Path::new(STDIN) {
            "standard input".into()
        } else {
            args.log.display().to_string()
        };
        crate::terminal::print(&report::report(&name, &verdict, seconds))
    };
    report("verify", printed.map(|()| if verdict.passed { 0 } else { exit::VERIFY }))
}

/// Reads a log once, from its beginning to its end, and judges it.
pub fn check(log: &Path, workers: Option<Workers>) -> io::Result<Verdict> {
    let mut judge = Judge::new(workers);
    let source: Box<dyn Read> =
        if log == Path::new(STDIN) { Box::new(io::stdin()) } else { Box::new(File::open(log)?) };
    let bytes = lines::for_each(source, |line, ended| judge.push(line, ended))?;
    Ok(judge.finish(bytes))
}
