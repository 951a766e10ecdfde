//! Plays a scenario with real processes, strikes where it is asked to, starts again what was killed or has
//! failed, and compares what comes out with what should.

mod clients;
mod ends;
mod logs;
mod rest;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tests::{Binaries, Sandbox};

use super::actor::Actor;
use super::oracle::Oracle;
use super::point::{At, Moment};
use super::role::Role;
use super::scenario::Scenario;
use super::steps::Steps;
use crate::violation::Violation;

use ends::{Fate, SECOND_LEDGER};

/// How long anything may take from one event to the next, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// What has failed is started again when the others have ended, or nobody has for so long.
const OTHERS_END_WITHIN: Duration = Duration::from_millis(300);

/// A process to step: where to strike it, or nothing: then its calls are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    pub(crate) role: Role,
    pub(crate) stop: Option<(At, Moment)>,
}

/// What a play came to.
#[derive(Debug)]
pub(crate) struct Played {
    /// Of each process that was to be stepped and was started, in order.
    pub(crate) steps: Vec<Steps>,
    /// Those that ended with an error and were started again.
    pub(crate) failed: Vec<Role>,
    pub(crate) log: String,
}

/// Plays it. Without an oracle the log is only given back.
pub(crate) fn play(
    scenario: &Scenario,
    binaries: &Binaries,
    traces: &[Trace],
    oracle: Option<&Oracle>,
) -> Result<Played, Violation> {
    let sandbox = Sandbox::new(binaries);
    let mut play = Play {
        scenario,
        sandbox: &sandbox,
        oracle,
        traces: traces.iter().copied().collect(),
        steps: Vec::new(),
        cast: BTreeMap::new(),
        again: Vec::new(),
        failed: Vec::new(),
        may_fail: traces.iter().any(|trace| matches!(trace.stop, Some((_, Moment::Fails(_))))),
        role_held_since: None,
        drained: false,
        outliving: false,
        begun: Instant::now(),
        chronicle: String::new(),
    };
    let outcome =
        play.perform().and_then(|()| play.rotate_in_the_end()).and_then(|()| play.judge());
    match outcome {
        Ok(()) => {
            let log = play.whole_log();
            Ok(Played { steps: play.steps, failed: play.failed, log })
        }
        Err(what) => Err(Violation::seen(&sandbox, what, play.chronicle)),
    }
}

/// Whether the play goes on.
#[derive(PartialEq, Eq)]
enum Scene {
    Over,
    /// Everyone was killed, and the second kill is still to come.
    EveryoneDied,
}

struct Play<'a> {
    scenario: &'a Scenario,
    sandbox: &'a Sandbox,
    oracle: Option<&'a Oracle>,
    /// Those still to come.
    traces: VecDeque<Trace>,
    steps: Vec<Steps>,
    cast: BTreeMap<Role, Actor>,
    /// Those that were started again.
    again: Vec<Role>,
    /// Those among them that had ended with an error.
    failed: Vec<Role>,
    /// A call is made to fail, which may end anyone with an error, once.
    may_fail: bool,
    /// Since when the load balancer has been seen to have its role.
    role_held_since: Option<Instant>,
    drained: bool,
    /// The load balancer is going to be killed while a worker is stopped.
    outliving: bool,
    begun: Instant,
    /// Who was started and how each one ended, for a person.
    chronicle: String,
}

impl Play<'_> {
    fn note(&mut self, line: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        // Writing to a String cannot fail.
        let _ = writeln!(self.chronicle, "{seconds:>8.3} s  {line}");
    }

    fn perform(&mut self) -> Result<(), String> {
        while self.act()? == Scene::EveryoneDied {
            self.cast.clear();
            self.drained = false;
            self.wait_for("processes that were killed are gone", |play| {
                play.sandbox.processes().is_empty()
            })?;
        }
        Ok(())
    }

    fn act(&mut self) -> Result<Scene, String> {
        let scenario = self.scenario;
        // In a recovery nobody may have to come any more.
        let mut clients_done = self.accepted() == scenario.clients.len();
        if !scenario.balancer_first {
            if self.clients()? == Scene::EveryoneDied {
                return Ok(Scene::EveryoneDied);
            }
            clients_done = true;
        }
        if self.is_over() {
            return Ok(Scene::Over);
        }
        for role in (1..=scenario.workers).filter(|_| scenario.by_hand).map(Role::Worker) {
            if !self.steps.is_empty() {
                // Perhaps only totals are missing, which are logged without it.
                self.again.push(role);
            }
            self.start(role)?;
        }
        self.start(Role::Balancer)?;
        let mut since = Instant::now();
        let mut owed = Vec::new();
        while !self.cast.is_empty() || !owed.is_empty() {
            let ended = self.ended()?;
            if !self.traces.is_empty() && ended.iter().any(|(_, end)| end.struck) {
                return Ok(Scene::EveryoneDied);
            }
            for (role, end) in ended {
                since = Instant::now();
                match self.fate(role, &end)? {
                    Fate::Gone => {}
                    Fate::ComesAgain => self.start_again(role)?,
                    Fate::HasFailed => owed.push(role),
                }
            }
            if self.cast.is_empty() || since.elapsed() > OTHERS_END_WITHIN {
                for role in std::mem::take(&mut owed) {
                    self.start_failed_again(role)?;
                    since = Instant::now();
                    // A redo that failed is withdrawn, and what a client had left pending with it.
                    clients_done &= self.accepted() >= scenario.clients.len();
                }
            }
            if !clients_done && self.is_ready() {
                // Those that clients wait for.
                for role in owed.extract_if(.., |_| scenario.rotation.is_some()) {
                    self.start_failed_again(role)?;
                }
                if self.clients()? == Scene::EveryoneDied {
                    return Ok(Scene::EveryoneDied);
                }
                clients_done = true;
                since = Instant::now();
            }
            self.dismiss(clients_done);
            self.look_on(since, "nothing happens any more")?;
        }
        Ok(Scene::Over)
    }

    fn wait_for(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let start = Instant::now();
        while !condition(self) {
            self.look_on(start, &format!("never happened: {what}"))?;
        }
        Ok(())
    }

    /// Lets a moment pass; an error when it has been too long since then, or after Ctrl-C.
    fn look_on(&self, since: Instant, else_what: &str) -> Result<(), String> {
        if since.elapsed() > PATIENCE {
            let left: Vec<_> = self.cast.keys().map(ToString::to_string).collect();
            return Err(format!("{else_what}; still running: {}", left.join(", ")));
        }
        if crate::is_interrupted() {
            return Err("interrupted".to_owned());
        }
        if self.cast.values().any(Actor::made_second_ledger) {
            return Err(SECOND_LEDGER.to_owned());
        }
        std::thread::sleep(LOOK_EVERY);
        Ok(())
    }
}
