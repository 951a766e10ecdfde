//! Things removed, cut or written by others under a running session, at several moments each, and what
//! the crash table in ARCHITECTURE.md promises then.

mod damage;
mod phase;
mod trial;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use tests::{Binaries, Sandbox};

use damage::Damage;
use phase::Phase;
use trial::Trial;

use crate::lanes;

/// Cases played at once: most of them wait for something to be noticed.
const JOBS: usize = 4;
/// A phase of a millisecond may be missed.
const TRIES: u32 = 20;

/// Remove things.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Remove, cut and write things under a running session.
    #[arg(long)]
    pub(crate) removed: bool,
}

/// A case whose promise was not kept.
struct Broken {
    phase: Phase,
    damage: Damage,
    what: String,
    kept: PathBuf,
}

pub(crate) fn run(programs: &Binaries) -> Result<bool, String> {
    let cases = cases();
    let broken = play_all(programs, &cases, false);
    let mut report = String::new();
    for damage in Damage::ALL {
        let of =
            |phase| broken.iter().any(|broken| broken.phase == phase && broken.damage == damage);
        // Writing to a String cannot fail.
        let _ = write!(report, "{:<28}", damage.to_string());
        for phase in Phase::ALL {
            let result = if of(phase) { "BROKEN" } else { "ok" };
            let _ = write!(report, "{phase}: {result:<8}");
        }
        report.push('\n');
    }
    for broken in &broken {
        let _ = writeln!(
            report,
            "VIOLATION {}, {}: {}\n  see {}",
            broken.damage,
            broken.phase,
            broken.what,
            broken.kept.display()
        );
    }
    let kept = cases.len() - broken.len();
    let _ = writeln!(report, "{kept} of {} cases as promised", cases.len());
    crate::print(&report)?;
    Ok(broken.is_empty())
}

/// What a sabotaged build must not survive.
pub(crate) fn first_violation(programs: &Binaries) -> Option<String> {
    let broken = play_all(programs, &cases(), true);
    for broken in &broken {
        // What cannot be removed stays in the temp directory.
        let _ = std::fs::remove_dir_all(&broken.kept);
    }
    broken.first().map(|broken| format!("{}, {}: {}", broken.damage, broken.phase, broken.what))
}

fn cases() -> Vec<(Phase, Damage)> {
    let of = |damage| Phase::ALL.map(|phase| (phase, damage));
    Damage::ALL.into_iter().flat_map(of).collect()
}

fn play_all(programs: &Binaries, cases: &[(Phase, Damage)], stop_early: bool) -> Vec<Broken> {
    let mut broken = Vec::new();
    lanes::play_all(
        JOBS,
        cases,
        |&&(phase, damage)| play(programs, phase, damage),
        |&(phase, damage), played| {
            if let Err((what, kept)) = played {
                broken.push(Broken { phase, damage, what, kept });
            }
            if stop_early && !broken.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    broken
}

fn play(programs: &Binaries, phase: Phase, damage: Damage) -> Result<(), (String, PathBuf)> {
    for _ in 0..TRIES {
        let mut sandbox = Sandbox::new(programs);
        let outcome = Trial::new(&sandbox, phase, damage).play();
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {} // too late: the phase had passed
            Err(what) => {
                let evidence = sandbox.report();
                sandbox.keep();
                let kept = sandbox.dir().parent().map(PathBuf::from).unwrap_or_default();
                // It is printed as well.
                let _ = std::fs::write(kept.join("evidence.txt"), format!("{what}\n{evidence}"));
                super::exhaustive::clear(&sandbox);
                return Err((what, kept));
            }
        }
    }
    Err((format!("the phase was missed {TRIES} times"), PathBuf::new()))
}
