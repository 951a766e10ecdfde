//! Plays a scenario with real processes, kills where it is told to, starts again what was killed, and
//! compares what comes out with what should.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tests::{Binaries, IpcObject, Sandbox};

use super::actor::{Actor, End};
use super::oracle::Oracle;
use super::point::{At, Moment};
use super::role::Role;
use super::scenario::Scenario;
use super::stepper::Stepped;
use super::steps::{Steps, Stop, Target};
use crate::crash::witness;

/// How long anything may take from one event to the next, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A process to step: where to kill it, or nothing: then its calls are counted.
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
    pub(crate) log: String,
}

/// A contract that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) what: String,
    /// The directory that holds everything about it.
    pub(crate) kept: PathBuf,
}

impl Violation {
    /// Removes the directory.
    pub(crate) fn forget(&self) {
        // What cannot be removed stays in the temp directory.
        let _ = std::fs::remove_dir_all(&self.kept);
    }
}

/// Plays it. Without an oracle the log is only given back.
pub(crate) fn play(
    scenario: &Scenario,
    binaries: &Binaries,
    traces: &[Trace],
    oracle: Option<&Oracle>,
) -> Result<Played, Violation> {
    let mut sandbox = Sandbox::new(binaries);
    let mut play = Play {
        scenario,
        sandbox: &sandbox,
        oracle,
        traces: traces.iter().copied().collect(),
        steps: Vec::new(),
        cast: BTreeMap::new(),
        again: Vec::new(),
        drained: false,
        outliving: false,
    };
    let outcome = play.perform().and_then(|()| play.judge());
    let steps = std::mem::take(&mut play.steps);
    let Err(what) = outcome else { return Ok(Played { steps, log: sandbox.log() }) };
    let evidence = format!("{what}\n{}\n{}", witness::dump(&sandbox.dir()), sandbox.report());
    drop(play);
    sandbox.keep();
    let kept = sandbox.dir().parent().map(PathBuf::from).unwrap_or_default();
    // It is printed as well.
    let _ = std::fs::write(kept.join("evidence.txt"), evidence);
    super::clear(&sandbox);
    Err(Violation { what, kept })
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
    /// Workers that were started again.
    again: Vec<Role>,
    drained: bool,
    /// The load balancer is going to be killed while a worker stands still.
    outliving: bool,
}

impl Play<'_> {
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
        let mut clients_done = self.accepted() == scenario.submissions.len();
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
        while !self.cast.is_empty() {
            let ended = self.ended()?;
            if !self.traces.is_empty() && ended.iter().any(|(_, end)| end.struck) {
                return Ok(Scene::EveryoneDied);
            }
            for (role, end) in ended {
                since = Instant::now();
                // Killed with everyone, moments before the one that is stepped.
                let early = end.code.is_none() && self.kills_everyone();
                if early {
                    continue;
                }
                if end.code.is_none() && role == Role::Balancer && self.outliving {
                    self.outliving = false;
                    self.start(role)?;
                    continue;
                }
                if !end.struck {
                    self.judge_end(role, &end)?;
                } else if !self.is_over() {
                    if role == Role::Balancer {
                        self.drained = false;
                    }
                    self.again.push(role);
                    self.start(role)?;
                }
            }
            if !clients_done && self.is_ready() {
                if self.clients()? == Scene::EveryoneDied {
                    return Ok(Scene::EveryoneDied);
                }
                clients_done = true;
                since = Instant::now();
            }
            self.dismiss(clients_done);
            if since.elapsed() > PATIENCE {
                let left: Vec<_> = self.cast.keys().map(ToString::to_string).collect();
                return Err(format!(
                    "nothing happens any more; still running: {}",
                    left.join(", ")
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Scene::Over)
    }

    /// One client after the other, for the submissions that are not accepted.
    fn clients(&mut self) -> Result<Scene, String> {
        let mut next = self.accepted() + 1;
        while let Some(submission) = self.scenario.submissions.get(next - 1) {
            let role = Role::Client(u32::try_from(next).unwrap_or(u32::MAX));
            self.start(role)?;
            let mut end = None;
            self.wait_for(&format!("{role} ends"), |play| {
                end = play.try_end(role).transpose();
                end.is_some()
            })?;
            let Some(end) = end.transpose()? else { continue };
            let confirmed = end.stdout == format!("accepted {submission}\n");
            if end.code.is_none() && self.kills_everyone() {
                self.wait_for("the stepped process is killed like all others", |play| {
                    !matches!(play.ended(), Ok(ended) if ended.iter().all(|(_, end)| !end.struck))
                })?;
                return Ok(Scene::EveryoneDied);
            }
            if !end.struck {
                self.judge_end(role, &end)?;
            } else if !self.traces.is_empty() {
                return Ok(Scene::EveryoneDied);
            }
            let accepted = self.accepted();
            if confirmed && accepted < next {
                return Err(format!("{role} printed `accepted`, but nothing was"));
            }
            if !end.struck && !confirmed {
                return Err(format!("{role} did not print `accepted`: {:?}", end.stdout));
            }
            next = accepted.max(next - usize::from(end.struck)) + 1;
        }
        Ok(Scene::Over)
    }

    /// Submissions that are in the log, or will be once the next holder of its lock has been there.
    fn accepted(&self) -> usize {
        let ledger = witness::cursors(&self.sandbox.dir()).map_or(0, |at| at.submissions);
        let logged = super::oracle::submissions(&self.sandbox.log()).len();
        usize::try_from(ledger).unwrap_or(usize::MAX).max(logged)
    }

    fn start(&mut self, role: Role) -> Result<(), String> {
        let (program, arguments) = self.scenario.command(role);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let target = self.traces.front().and_then(|trace| match trace.role {
            wanted if wanted == role => Some(Target::Itself),
            Role::Worker(k) if role == Role::Balancer && !self.scenario.by_hand => {
                Some(Target::ChildWorker(k))
            }
            _ => None,
        });
        let actor = match target.and_then(|target| Some((target, self.traces.pop_front()?))) {
            None => Actor::Plain(self.sandbox.start(program, &arguments)),
            Some((target, trace)) => {
                self.outliving |= matches!(trace.stop, Some((_, Moment::Outlive)));
                let number = self.traces.len();
                let out = self.sandbox.dir().with_file_name("out");
                let [stdout, stderr] =
                    ["stdout", "stderr"].map(|name| out.join(format!("{role}-{number}.{name}")));
                let stop = Stop { at: trace.stop, with_everyone: !self.traces.is_empty() };
                let started = Stepped::start(
                    &self.sandbox.command(program, &arguments),
                    |command| {
                        command.stdin(std::process::Stdio::null());
                        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
                        Ok(())
                    },
                    target,
                    stop,
                    &self.sandbox.dir(),
                );
                let stepped = started.map_err(|error| format!("cannot step {role}: {error}"))?;
                Actor::Stepped { stepped, target, stdout }
            }
        };
        self.cast.insert(role, actor);
        Ok(())
    }

    /// Those that have ended since the last look.
    fn ended(&mut self) -> Result<Vec<(Role, End)>, String> {
        let roles: Vec<Role> = self.cast.keys().copied().collect();
        let mut ended = Vec::new();
        for role in roles {
            if let Some(end) = self.try_end(role)? {
                ended.push((role, end));
            }
        }
        Ok(ended)
    }

    fn try_end(&mut self, role: Role) -> Result<Option<End>, String> {
        let with_everyone = !self.traces.is_empty();
        let Some(actor) = self.cast.get_mut(&role) else { return Ok(None) };
        let end =
            actor.try_end(with_everyone).map_err(|error| format!("stepping {role}: {error}"))?;
        if let Some(steps) = end.as_ref().and_then(|end| end.steps.clone()) {
            self.steps.push(steps);
        }
        if end.is_some() {
            self.cast.remove(&role);
        }
        Ok(end)
    }

    /// A process is still to be killed together with all others.
    fn kills_everyone(&self) -> bool {
        let stepping = self.cast.values().any(|actor| matches!(actor, Actor::Stepped { .. }));
        stepping && !self.traces.is_empty()
    }

    /// Nobody may fail who was not killed. A worker that came when all was over waits for the next
    /// session, and is sent away.
    fn judge_end(&self, role: Role, end: &End) -> Result<(), String> {
        let sent_away = self.again.contains(&role) && end.code == Some(143);
        if end.code == Some(0) || sent_away {
            return Ok(());
        }
        Err(format!("{role} ended with code {:?}: {}", end.code, end.stderr))
    }

    /// The load balancer is there, and may be joined.
    fn is_ready(&self) -> bool {
        self.sandbox.has_balancer()
    }

    /// Nothing is left to do: there is no ledger, which is removed last, and the log is complete.
    fn is_over(&self) -> bool {
        self.sandbox.segment().is_none() && self.is_log_complete()
    }

    /// Asks those to end who would wait for more work for ever.
    fn dismiss(&mut self, clients_done: bool) {
        if !clients_done {
            return;
        }
        let at = witness::cursors(&self.sandbox.dir());
        let all = self.scenario.submissions.len() as u64;
        let logged =
            self.scenario.serve && at.is_some_and(|at| at.submissions == all && at.all_logged());
        // Where only a redo was missing, the first worker by hand to come ends the session, and those
        // behind it find nothing to do. Nobody else may: a load balancer that is started for what others
        // left, and finds no session, would wait for ever; and one that serves, has finished what another
        // one was to drain and serves on.
        let unused = (self.scenario.by_hand || self.scenario.serve)
            && !self.steps.is_empty()
            && at.is_none();
        if !self.drained && self.is_ready() && (logged || unused && self.is_log_complete()) {
            let balancer = self.cast.get(&Role::Balancer);
            self.drained = balancer.is_some_and(Actor::terminate);
        }
        let only_latecomers =
            self.cast.keys().all(|role| self.again.contains(role) && *role != Role::Balancer);
        if only_latecomers && self.is_log_complete() {
            for actor in self.cast.values() {
                actor.terminate();
            }
        }
    }

    fn is_log_complete(&self) -> bool {
        self.oracle.is_some_and(|oracle| oracle.judge(&self.sandbox.log()).is_ok())
    }

    fn wait_for(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let start = Instant::now();
        while !condition(self) {
            if start.elapsed() > PATIENCE {
                return Err(format!("never happened: {what}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The log is what it should be, and nothing else is left.
    fn judge(&mut self) -> Result<(), String> {
        if let Some(oracle) = self.oracle {
            oracle.judge(&self.sandbox.log())?;
        }
        let objects = IpcObject::that_stay(&self.sandbox.dir());
        if !objects.is_empty() {
            return Err(format!("IPC objects are left: {objects:?}"));
        }
        self.wait_for("all processes are gone", |play| play.sandbox.processes().is_empty())?;
        let entries = std::fs::read_dir(self.sandbox.dir()).map_err(|error| error.to_string())?;
        let files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| name != common::instance::LOG_NAME)
            .collect();
        if files.is_empty() { Ok(()) } else { Err(format!("files are left: {files:?}")) }
    }
}
