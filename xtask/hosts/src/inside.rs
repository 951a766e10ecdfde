//! The run itself: hosts, rounds, the session's end, the checks, the report.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use common::error::exit;
use common::fence::signals;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use nix::sys::prctl::set_child_subreaper;
use strum::IntoEnumIterator;

use crate::Args;
use crate::bench;
use crate::checks;
use crate::failure::{Failure, until, when};
use crate::host;
use crate::leash;
use crate::load::Client;
use crate::place::Place;
use crate::plan::{Fault, Kind};
use crate::report::Report;
use crate::round;
use crate::site::{Site, WORKERS};
use crate::witness;

/// How long it may take until everybody has begun.
const BEGINNING: Duration = Duration::from_secs(60);
/// All that is accepted is executed, and the session ended.
const ENDING: Duration = Duration::from_secs(120);

/// Runs it. Returns the exit code.
pub(crate) fn run(place: &Place, args: &Args) -> Result<ExitCode, Failure> {
    // The guard leaves signals to a thread of its own; nothing that is started here may inherit that.
    signals::start_clean().map_err(Failure::system("signals"))?;
    set_child_subreaper(true).map_err(Failure::system("prctl"))?;
    leash::hold(place);
    if let Some(programs) = &place.bench {
        let measured = bench::run(place, programs);
        host::kill_all();
        return measured;
    }
    let (kinds, left_out) = kinds(&args.only, place.networks)?;
    let seed = args.seed.unwrap_or_else(drawn_seed);
    if args.seed.is_none() {
        common::tell!("seed {seed}");
    }
    let mut report = Report::new(seed, place.networks, left_out);
    let mut site = Site::new(place.clone(), seed)?;
    let outcome = play(&mut site, args, &kinds, &mut report);
    report.ended = site.ended.clone();
    report.accepted = site.record.texts().accepted;
    if let Err(failure) = outcome {
        if failure.exit_code() != exit::VERIFY {
            host::kill_all();
            return Err(failure);
        }
        report.violation = Some(format!("with --seed {seed}: {failure}"));
        // While everybody is still there.
        witness::dump(&site);
    }
    report.passed = report.violation.is_none() && report.checks.iter().all(|check| check.passed);
    host::kill_all();
    if place.networks && (args.keep || !report.passed) {
        witness::keep_disks(&site)?;
    }
    report.print(args.json)?;
    Ok(ExitCode::from(if report.passed { 0 } else { exit::VERIFY }))
}

/// Which kinds are played, and which cannot be.
fn kinds(only: &[Kind], networks: bool) -> Result<(Vec<Kind>, Vec<Kind>), Failure> {
    let wanted = Kind::iter().filter(|kind| only.is_empty() || only.contains(kind));
    let (kinds, left_out): (Vec<_>, Vec<_>) =
        wanted.partition(|kind| networks || !kind.needs_namespaces());
    if kinds.is_empty() { Err(Failure::NoKind) } else { Ok((kinds, left_out)) }
}

fn play(site: &mut Site, args: &Args, kinds: &[Kind], report: &mut Report) -> Result<(), Failure> {
    // On stderr, and only if that is a terminal.
    let progress = ProgressBar::new(args.rounds).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} [{elapsed}] {msg}") {
        progress.set_style(style);
    }
    progress.set_message("servers");
    site.await_servers()?;
    site.record.mark();
    site.start_all()?;
    until(BEGINNING, "every client has a submission accepted", || {
        site.mend()?;
        Ok(when(site.record.waiting().is_empty()))
    })?;
    for round in 0..args.rounds {
        let fault = Fault::draw(report.seed, round, kinds);
        progress.set_message(fault.to_string());
        let first = round::play(site, &fault).map_err(|failure| match failure {
            Failure::Broken(what) => Failure::Broken(format!("{fault}: {what}")),
            failure => failure,
        })?;
        report.faults.entry(fault.kind).or_default().add(first);
        report.rounds += 1;
        progress.inc(1);
    }
    progress.set_message("the end");
    end(site, report)
}

/// Ends the load, the session, and everybody; then checks.
fn end(site: &mut Site, report: &mut Report) -> Result<(), Failure> {
    site.clients.iter().for_each(Client::stop_feeding);
    site.clients.iter_mut().try_for_each(Client::finish)?;
    let last = site.place.dir.join("last");
    site.end_session(&last, ENDING)?;
    until(ENDING, "every host's log has its totals", || {
        let is_finished = |host: &host::Host| {
            let log = fs::read(host.log()).unwrap_or_default();
            checks::is_finished(&log, WORKERS.into())
        };
        Ok(when(site.hosts.iter().all(is_finished)))
    })?;
    report.checks = checks::all(site, &last)?;
    site.end()
}

/// Of the clock: it is printed, so that it can be given again.
fn drawn_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_ports_kinds_are_left_out_and_named() {
        let (kinds_there, left_out) = kinds(&[], false).unwrap();
        assert_eq!(left_out, [Kind::CutOff, Kind::FillDisk, Kind::TakeOver]);
        assert!(kinds_there.iter().all(|kind| !left_out.contains(kind)));
        assert_eq!(kinds(&[Kind::KillHost], true).unwrap(), (vec![Kind::KillHost], vec![]));
        assert!(kinds(&[Kind::CutOff], false).is_err());
    }
}
