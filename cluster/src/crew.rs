//! The workers of this host, as processes that the balancer starts, and starts again when they die.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use common::error::{Error, exit};
use common::grammar::rotation::WorkerId;
use common::program::children;
use common::program::pause::pause;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::args;

/// Pauses before a worker is started again that ended with an error.
const AGAIN: Duration = Duration::from_secs(1);
/// So many ends with an error in a row are not bad luck.
const ERRORS_MAX: u32 = 5;
/// A worker that lived so long had no bad start.
const LONG: Duration = Duration::from_secs(10);
/// How long what was killed may take to go.
const DYING: Duration = Duration::from_secs(1);
/// How long a worker may take to end.
const ENDING: Duration = Duration::from_secs(10);

struct Member {
    child: Option<Child>,
    started: Instant,
    not_before: Instant,
    errors: u32,
}

pub(crate) struct Crew<'a> {
    args: &'a args::Loadbalancer,
    members: BTreeMap<WorkerId, Member>,
}

impl<'a> Crew<'a> {
    pub(crate) fn new(args: &'a args::Loadbalancer) -> Self {
        Self { args, members: BTreeMap::new() }
    }

    /// The numbers that are run here.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = WorkerId> {
        self.members.keys().copied()
    }

    /// Runs this number here, too.
    pub(crate) fn add(&mut self, worker: WorkerId, takes_over: bool) -> Result<(), Error> {
        if self.members.contains_key(&worker) {
            return Ok(());
        }
        let now = Instant::now();
        let child = Some(self.start(worker, takes_over)?);
        self.members.insert(worker, Member { child, started: now, not_before: now, errors: 0 });
        Ok(())
    }

    /// Starts those again that have died. Those in `elsewhere` are run by another host now.
    pub(crate) fn look_after(&mut self, elsewhere: &BTreeSet<WorkerId>) -> Result<(), Error> {
        let mut again = Vec::new();
        let mut gone = Vec::new();
        let mut is_any_dead = false;
        for (&worker, member) in &mut self.members {
            let ended = match &mut member.child {
                Some(child) => child.try_wait().map_err(Error::system("waitpid"))?,
                None => None,
            };
            if let Some(status) = ended {
                member.child = None;
                is_any_dead = true;
                if elsewhere.contains(&worker) {
                    gone.push(worker);
                    continue;
                }
                if status.code() == Some(i32::from(exit::USAGE)) {
                    let why = "ended with a usage error: see above".to_owned();
                    return Err(Error::Worker { worker: worker.get(), why });
                }
                let is_error = status.code().is_some_and(|code| code != 0);
                let is_short = member.started.elapsed() < AGAIN;
                if member.started.elapsed() > LONG {
                    member.errors = 0;
                }
                member.errors += u32::from(is_error);
                if member.errors >= ERRORS_MAX {
                    let why = format!("ended with an error {ERRORS_MAX} times in a row");
                    return Err(Error::Worker { worker: worker.get(), why });
                }
                common::tell!("cluster: worker {worker} has ended ({status}); starting it again");
                let pause = if is_error || is_short { AGAIN } else { Duration::ZERO };
                member.not_before = Instant::now() + pause;
            }
            if member.child.is_none() && Instant::now() >= member.not_before {
                again.push(worker);
            }
        }
        for worker in gone {
            self.members.remove(&worker);
        }
        if is_any_dead {
            self.end_orphans();
        }
        for worker in again {
            let child = self.start(worker, false)?;
            if let Some(member) = self.members.get_mut(&worker) {
                (member.child, member.started) = (Some(child), Instant::now());
            }
        }
        Ok(())
    }

    /// Asks all to end, and waits for them.
    pub(crate) async fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        let until = Instant::now() + ENDING + self.args.work.grace;
        while self.is_any() && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        self.signal(Signal::SIGKILL);
        let killed = Instant::now();
        while self.is_any() && killed.elapsed() < DYING {
            sleep(Duration::from_millis(5)).await;
        }
        self.end_orphans();
    }

    /// Kills what dead workers' COMMANDs have started: it has come here. What lives of a worker that lives is that one's.
    fn end_orphans(&self) {
        if !self.args.work.is_any() {
            return;
        }
        let members = self.members.values().filter_map(|member| member.child.as_ref()?.id());
        let spared: Vec<_> = members.map(|pid| Pid::from_raw(pid.cast_signed())).collect();
        let start = Instant::now();
        // What these have started comes here after their death.
        while children::signal_all_but(&spared, Some(Signal::SIGKILL)) && start.elapsed() < DYING {
            pause(Duration::from_millis(1));
        }
    }

    fn is_any(&mut self) -> bool {
        let mut is_any = false;
        for member in self.members.values_mut() {
            if let Some(child) = &mut member.child {
                match child.try_wait() {
                    Ok(None) => is_any = true,
                    _ => member.child = None,
                }
            }
        }
        is_any
    }

    fn signal(&self, signal: Signal) {
        let children = self.members.values().filter_map(|member| member.child.as_ref());
        for pid in children.filter_map(Child::id) {
            // One that has ended is not waited for yet, so the number is its own.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }

    fn start(&self, worker: WorkerId, takes_over: bool) -> Result<Child, Error> {
        let program = env::current_exe().map_err(Error::system("/proc/self/exe"))?;
        let mut command = Command::new(program);
        command.arg("worker").args(self.args.connection.to_args());
        command.envs(self.args.connection.to_env());
        let mut dir = OsString::from("--dir=");
        dir.push(&self.args.dir);
        command.arg(dir).arg(format!("--spawned-by={}", std::process::id()));
        command.args(takes_over.then_some("--take-over"));
        command.args(self.args.quiet.then_some("--quiet"));
        let work = self.args.work.to_args();
        // Its flags come before the number, COMMAND after it.
        let split = work.iter().position(|arg| arg == "--").unwrap_or(work.len());
        command.args(&work[..split]).arg(worker.to_string()).args(&work[split..]);
        // A terminal's Ctrl-C is the balancer's to hand on.
        command.process_group(0);
        command.spawn().map_err(Error::system("a worker"))
    }
}
