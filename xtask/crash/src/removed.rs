//! Things removed, cut or written by others under a running session, at several moments each, and what
//! the crash table in ARCHITECTURE.md promises then.

mod damage;
mod phase;
mod trial;

use std::fmt::Write as _;

use strum::IntoEnumIterator;
use tests::{Binaries, Sandbox};

use damage::Damage;
use phase::Phase;
use trial::Trial;

use crate::findings::Findings;
use crate::lanes;
use crate::violation::Violation;

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

pub(crate) fn run(programs: &Binaries) -> Result<bool, String> {
    let (findings, broken) = play_all(programs, Findings::default());
    let mut text = String::new();
    for damage in Damage::iter() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{damage:<28}");
        for phase in Phase::iter() {
            let result = if broken.contains(&(phase, damage)) { "BROKEN" } else { "ok" };
            let _ = write!(text, "{phase}: {result:<8}");
        }
        text.push('\n');
    }
    let cases = cases().count();
    let _ = writeln!(text, "{} of {cases} cases as promised", cases - broken.len());
    findings.conclude(&text, None)
}

/// What a sabotaged build must not survive.
pub(crate) fn first_violation(programs: &Binaries) -> Option<String> {
    play_all(programs, Findings::brief()).0.first()
}

fn cases() -> impl Iterator<Item = (Phase, Damage)> {
    Damage::iter().flat_map(|damage| Phase::iter().map(move |phase| (phase, damage)))
}

/// Finds until that is enough. Returns the cases, too, whose promise was not kept.
fn play_all(programs: &Binaries, mut findings: Findings) -> (Findings, Vec<(Phase, Damage)>) {
    let mut broken = Vec::new();
    lanes::play_all(
        JOBS,
        cases(),
        |&(phase, damage)| play(programs, phase, damage),
        |(phase, damage), played| {
            if let Err(violation) = played {
                findings.failed(&format!("{damage}, {phase}"), violation);
                broken.push((phase, damage));
            }
            findings.go_on()
        },
    );
    (findings, broken)
}

fn play(programs: &Binaries, phase: Phase, damage: Damage) -> Result<(), Violation> {
    for _ in 0..TRIES {
        let sandbox = Sandbox::new(programs);
        match Trial::new(&sandbox, phase, damage).play() {
            Ok(true) => return Ok(()),
            Ok(false) => {} // too late: the phase had passed
            Err(what) => return Err(Violation::seen(&sandbox, what, "")),
        }
    }
    Err(format!("the phase was missed {TRIES} times").into())
}
