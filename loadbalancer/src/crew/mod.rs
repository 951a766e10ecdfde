//! A dead worker has lost nothing, so it is just started again. Here are the workers as processes: started, missed,
//! reported, replaced.
//!
//! What is done about a worker, by what is seen of it, is [`table`]. Beside that, a child that is no worker is reaped when
//! it ends, and what a dead worker has started is killed before the worker is started again.

mod member;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::error::Error;
use common::grammar::rotation::{WorkerId, Workers};
use common::instance::Instance;
use common::instance::role::Role;
use common::ledger::Ledger;
use common::program::advice;
use common::program::children;
use common::program::pause::pause;
use common::program::service_manager;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dispatch::Dispatch;

use member::Member;
pub(crate) use member::Start;
use table::{Absent, on_absence};

/// The longest sleep: within it, a removed ledger and the death of what has no parent here is noticed.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// So many missing workers are asked for by name.
const ASKED_FOR_MAX: usize = 3;
/// How long workers that were started by hand may take to come, perhaps from a log that was renamed.
const ASK_AFTER: Duration = Duration::from_millis(300);
/// So long a balancer is young; and so often it looks then whether a worker of a killed one is dead.
const YOUNG: Duration = Duration::from_secs(1);
const DYING: Duration = Duration::from_millis(10);
/// How long workers may take to end when the balancer does.
const DISMISS_PATIENCE: Duration = Duration::from_millis(500);
/// How long workers may take to end after their totals are logged.
pub(crate) const END_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Crew {
    members: Vec<Member>,
    /// How to start workers, if they are.
    start: Option<Start>,
    begun: Instant,
    /// Children that this process had when it began: the program's that became it.
    strangers: Vec<Pid>,
    /// Something that a dead worker's COMMAND started may be alive.
    orphans: bool,
    /// Who of those that are started by hand was said to be missing.
    missing: Option<Vec<WorkerId>>,
}

/// The worker program beside this one.
pub(crate) fn worker_program() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::system("own program file"))?;
    Ok(own.with_file_name(advice::name("worker")))
}

impl Crew {
    pub(crate) fn new(workers: Workers, start: Option<Start>) -> Self {
        let now = Instant::now();
        let strangers = if children::is_any() { children::all() } else { Vec::new() };
        Self {
            members: workers.ids().map(Member::new).collect(),
            start,
            begun: now,
            strangers,
            orphans: false,
            missing: None,
        }
    }

    /// Another log: who was there before may take a moment to come again.
    pub(crate) fn begin_again(&mut self) {
        self.begun = Instant::now();
    }

    /// What workers are to have done from here on counts as progress.
    pub(crate) fn begin_session(&mut self, ledger: &Ledger) {
        for member in &mut self.members {
            member.executed_at_start = member.executed(Some(ledger));
        }
    }

    /// Looks after everyone; without a session they wait for one. When only totals are missing the dead are not
    /// replaced. Returns when to look again at the latest.
    pub(crate) fn tend(
        &mut self,
        instance: &Instance,
        session: Option<(&Ledger, &Dispatch)>,
    ) -> Result<Instant, Error> {
        let ledger = session.map(|(ledger, _)| ledger);
        let finishing = session.is_some_and(|(_, dispatch)| dispatch.finishing);
        let mut look_again = Instant::now() + TICK;
        let mut missing = Vec::new();
        for member in &mut self.members {
            let ended = member.reap(ledger, finishing);
            // Also where it is not started again: an error ends the balancer.
            self.orphans |= ended.as_ref().map_or(true, |&ended| ended && !finishing);
            ended?;
        }
        self.kill_orphans();
        for member in &mut self.members {
            let worker = member.worker;
            let is_child = member.child.is_some();
            if is_child || instance.is_held_by_another(Role::Worker(worker))? {
                let left = session.and_then(|(ledger, dispatch)| dispatch.left(worker, ledger));
                member.watch(instance, ledger, left)?;
                member.reported = false;
                // By hand; or a killed balancer's, which may take a moment to die.
                if !is_child && self.start.is_some() && self.begun.elapsed() < YOUNG {
                    look_again = look_again.min(Instant::now() + DYING);
                }
                continue;
            }
            member.forget();
            let pauses = member.start > Instant::now();
            match on_absence(finishing, pauses, self.orphans, self.start.as_ref()) {
                Absent::CountAsDone => {
                    if let Some(ledger) = ledger.filter(|it| !it.cell(worker).is_done()) {
                        ledger.cell(worker).set_done();
                        ledger.doorbell().ring(); // its total is ready, and nobody else knows
                    }
                }
                Absent::Pauses => look_again = look_again.min(member.start),
                // What they do must not be done twice at once.
                Absent::HasOrphans => look_again = look_again.min(Instant::now() + DYING),
                Absent::IsDue(start) => {
                    member.executed_at_start = member.executed(ledger);
                    member.start(start, instance)?;
                }
                Absent::IsMissing => missing.push(worker),
            }
        }
        if self.start.is_none() && !finishing {
            let ask_at = self.begun + ASK_AFTER;
            if missing.is_empty() && self.missing.is_none() || Instant::now() >= ask_at {
                self.tell_missing(missing);
            } else {
                look_again = look_again.min(ask_at);
            }
        }
        self.reap_others();
        Ok(look_again)
    }

    /// Says who of those that are started by hand is not here, when that is news.
    fn tell_missing(&mut self, missing: Vec<WorkerId>) {
        let (all, here) = (self.members.len(), self.members.len() - missing.len());
        if self.missing.as_ref() == Some(&missing) || missing.is_empty() && self.missing.is_none() {
            return;
        }
        if missing.is_empty() {
            common::note!("loadbalancer: all {all} workers are here");
        } else {
            let start: Vec<_> = missing
                .iter()
                .take(ASKED_FOR_MAX)
                .map(|worker| format!("`{}`", advice::command("worker", worker)))
                .collect();
            let more = if missing.len() > ASKED_FOR_MAX { " and so on" } else { "" };
            common::note!(
                "loadbalancer: {here} of {all} workers are here; missing: {}: start {}{more}",
                ranges(&missing),
                start.join(", ")
            );
        }
        self.missing = Some(missing);
    }

    /// Kills what a dead worker's COMMAND has started, which comes here: this process is a subreaper then.
    fn kill_orphans(&mut self) {
        let has_work = self.start.as_ref().is_some_and(|start| start.work.is_any());
        self.orphans = self.orphans && has_work && {
            let workers = self.members.iter().filter_map(Member::pid);
            let spared: Vec<_> = workers.chain(self.strangers.iter().copied()).collect();
            children::signal_all_but(&spared, Some(Signal::SIGKILL))
        };
    }

    /// Reaps what is no worker: children of the program that became this one, and orphans, all of which
    /// come to PID 1 of a container. A worker's end is looked at, but left to [`Member::reap`].
    fn reap_others(&mut self) {
        let (members, strangers) = (&self.members, &mut self.strangers);
        children::reap_until(
            |pid| members.iter().any(|member| member.pid() == Some(pid)),
            // Its number may be another one's now.
            |pid| strangers.retain(|&stranger| stranger != pid),
        );
    }

    /// Waits for the workers to end; after so long they are killed, and what they have started.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<(), Error> {
        let start = Instant::now();
        // A COMMAND that is kept may take that long to end by itself, and once more when it is asked.
        let grace = self.start.as_ref().filter(|start| start.work.is_any());
        let patience = patience + grace.map_or(Duration::ZERO, |start| 2 * start.work.grace);
        for member in &mut self.members {
            let Some(child) = &mut member.child else { continue };
            while child.try_wait().map_err(Error::system("waitpid"))?.is_none() {
                service_manager::beat();
                if start.elapsed() > patience {
                    // What it has not counted is sent again, what it has not logged is logged by others.
                    child.kill().map_err(Error::system("kill"))?;
                    self.orphans = true;
                }
                pause(Duration::from_micros(200));
            }
            member.child = None;
        }
        let killed = Instant::now();
        while self.orphans && killed.elapsed() < END_PATIENCE {
            self.kill_orphans();
            pause(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// However the balancer ends, none of the workers that it started is left. They are asked first: killed
/// inside a transaction, one would leave half a line in the log until the next start.
impl Drop for Crew {
    fn drop(&mut self) {
        for pid in self.members.iter().filter_map(Member::pid) {
            // It is not waited for yet, so the number is its own.
            let _ = kill(pid, Signal::SIGTERM);
            self.orphans = true; // it may leave something all the same
        }
        // It fails only if a child was waited for elsewhere; then there is none to wait for.
        let _ = self.wait(DISMISS_PATIENCE);
    }
}

/// Numbers in ascending order as people write them: 1-3, 7.
fn ranges(workers: &[WorkerId]) -> String {
    let follows = |a: &WorkerId, b: &WorkerId| a.get() + 1 == b.get();
    let range = |range: &[WorkerId]| match range {
        [first, .., last] => format!("{first}-{last}"),
        [one] => one.to_string(),
        [] => String::new(),
    };
    workers.chunk_by(follows).map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_written_as_people_would() {
        let ranges = |numbers: &[u32]| {
            let ids: Vec<_> = numbers.iter().map(|&k| WorkerId::new(k).unwrap()).collect();
            super::ranges(&ids)
        };
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
    }
}
