//! The checks can fail: small sabotages of the product, each of which must be caught.
//!
//! Each is an exact replacement in a copy of the source. One that no longer applies is an error, so the
//! list is kept with the code.

mod sabotage;
mod workshop;

use std::fmt::Write as _;
use std::time::Instant;

use sabotage::{SABOTAGES, Sabotage};
use workshop::Workshop;

/// Sabotage the product.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Apply small sabotages to a copy of the source, and see that each is caught.
    #[arg(long)]
    pub(crate) mutants: bool,
    /// Only sabotages whose name holds this.
    #[arg(long, value_name = "PART", requires = "mutants")]
    only: Option<String>,
    /// Write the table there, as Markdown.
    #[arg(long, value_name = "FILE", requires = "mutants")]
    table: Option<std::path::PathBuf>,
}

/// What became of one.
struct Verdict {
    sabotage: &'static Sabotage,
    /// The run that caught it, and how.
    caught: Option<(&'static str, String)>,
    seconds: u64,
}

pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let mut workshop = match Workshop::open() {
        Ok(workshop) => workshop,
        Err(why) => {
            common::tell!("{why}");
            return Ok(false);
        }
    };
    if let Err(why) = workshop.judge_the_product() {
        common::tell!("{why}");
        return Ok(false);
    }
    let wanted = |sabotage: &&Sabotage| {
        args.only.as_ref().is_none_or(|part| sabotage.name.contains(part.as_str()))
    };
    let mut verdicts = Vec::new();
    let mut broken = false;
    for sabotage in SABOTAGES.iter().filter(wanted) {
        let start = Instant::now();
        match workshop.judge(sabotage) {
            Err(why) => {
                common::tell!("{}: {why}", sabotage.name);
                broken = true;
            }
            Ok(caught) => {
                let seconds = start.elapsed().as_secs();
                let by = caught.as_ref().map_or("SURVIVED", |(run, _)| run);
                common::tell!("{}: {by} ({seconds} s)", sabotage.name);
                verdicts.push(Verdict { sabotage, caught, seconds });
            }
        }
    }
    let table = table(&verdicts);
    if let Some(path) = &args.table
        && let Err(error) = std::fs::write(path, &table)
    {
        common::tell!("{}: {error}", path.display());
        broken = true;
    }
    crate::print(&table)?;
    let all_caught = verdicts.iter().all(|verdict| verdict.caught.is_some());
    Ok(!broken && !verdicts.is_empty() && all_caught)
}

fn table(verdicts: &[Verdict]) -> String {
    let mut table = "\
# Sabotages, and which run caught them

Made by `cargo xtask crash --mutants --table docs/mutants.md`. The runs are tried in this order, up to the
first that fails: the quick set of `cargo xtask crash`, `cargo xtask crash --removed`,
`cargo test -p tests --test roles --test stolen_frames --test log_touched --test trust --test work`. All of them pass on the product as it is, which is tried first.
It is built without link-time optimisation here, since each build runs for a minute at most.

| sabotage | what it does | caught by | first finding | seconds |
|---|---|---|---|---|
"
    .to_owned();
    for Verdict { sabotage, caught, seconds } in verdicts {
        let (run, finding) = match caught {
            Some((run, finding)) => (*run, finding.as_str()),
            None => ("**nothing**", ""),
        };
        let finding = finding.lines().next().unwrap_or("").replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {} | {run} | {finding} | {seconds} |",
            sabotage.name, sabotage.about
        );
    }
    table
}
