//! The workers as processes: started, missed, reported, replaced.
//!
//! | seen | done |
//! |---|---|
//! | a spawned worker ends | reported; started again at once |
//! | … within a second or with an exit code, and without progress | … after a pause of 0.1, 0.2, 0.4, 0.8 s; the fifth time in a row: an error |
//! | a spawned worker is stopped for 1 s | reported |
//! | … for 3 s | killed and replaced |
//! | any worker executes nothing for 3 s of what waits in its queue: it is traced, frozen, stopped by hand | reported, once |
//! | … of what was sent to it, and its queue is empty | that is sent again |
//! | … and it has no queue that the ledger knows | both |
//! | workers started by hand come, or are missing | told, and asked for |
//! | … which has a message in hand for that long, and a COMMAND for it | nothing: that may take as long as it wants |
//! | a child that is no worker ends | reaped |
//! | a spawned worker ends, and something that it started does not | killed; the worker is started again after that |

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::error::Error;
use common::fence::signals;
use common::grammar::rotation::{WorkerId, Workers};
use common::instance::Instance;
use common::instance::role::Role;
use common::ledger::Ledger;
use common::program::advice;
use common::program::children;
use common::program::pause::pause;
use common::program::process_stat::ProcessStat;
use common::program::service_manager;
use common::program::work::Work;
use common::queue;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dispatch::{Dispatch, Left};
use crate::lasting::{Lasting, once};

/// The longest sleep: within it, a removed ledger and the death of what has no parent here is noticed.
pub(crate) const TICK: Duration = Duration::from_secs(1);
const NAME_ANOTHER: &str = "name one that can be started with --worker-program";
/// So many missing workers are asked for by name.
const ASKED_FOR_MAX: usize = 3;
const FAST_DEATHS_MAX: u32 = 5;
const FAST: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
const REPORT_STOPPED_AFTER: Duration = Duration::from_secs(1);
/// How long a worker may stand still before that is acted on.
const STILL_MAX: Duration = Duration::from_secs(3);
/// How long workers that were started by hand may take to come, perhaps from a log that was renamed.
const ASK_AFTER: Duration = Duration::from_millis(300);
/// How often a young balancer looks whether a worker of a killed one is dead.
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

/// How a worker is started.
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    /// What is to be done with messages.
    pub(crate) work: Work,
    pub(crate) durable: bool,
    /// A progress bar stands on the terminal.
    pub(crate) bar: bool,
}

struct Member {
    worker: WorkerId,
    child: Option<Child>,
    /// When it was started, or is to be.
    start: Instant,
    executed_at_start: u64,
    fast_deaths: u32,
    /// That it is missing, or cannot be started.
    told: bool,
    /// It is stopped; so much is executed, and that is not all.
    still: Lasting<(bool, Option<u64>)>,
}

/// The worker program beside this one.
pub(crate) fn worker_program() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::system("own program file"))?;
    Ok(own.with_file_name(advice::name("worker")))
}

impl Crew {
    pub(crate) fn new(workers: Workers, start: Option<Start>) -> Self {
        let now = Instant::now();
        let member = |worker| Member {
            worker,
            child: None,
            start: now,
            executed_at_start: 0,
            fast_deaths: 0,
            told: false,
            still: Lasting::default(),
        };
        let strangers = if children::is_any() { children::all() } else { Vec::new() };
        Self {
            members: workers.ids().map(member).collect(),
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
                member.watch(instance, left)?;
                member.told = false;
                // By hand; or a killed balancer's, which may take a moment to die.
                if !is_child && self.start.is_some() && self.begun.elapsed() < FAST {
                    look_again = look_again.min(Instant::now() + DYING);
                }
                continue;
            }
            member.still = Lasting::default();
            if let Some(ledger) = ledger.filter(|_| finishing) {
                if !ledger.cell(worker).is_finished() {
                    ledger.cell(worker).set_finished();
                    ledger.doorbell().ring(); // its total is ready, and nobody else knows
                }
            } else if member.start > Instant::now() {
                look_again = look_again.min(member.start);
            } else if self.orphans {
                // What they do must not be done twice at once.
                look_again = look_again.min(Instant::now() + DYING);
            } else if let Some(start) = &self.start {
                member.executed_at_start = member.executed(ledger);
                member.start(start, instance)?;
            } else {
                missing.push(worker);
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

impl Member {
    /// Of a child that is not waited for.
    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| Pid::from_raw(child.id().cast_signed()))
    }

    fn executed(&self, ledger: Option<&Ledger>) -> u64 {
        ledger.map_or(0, |ledger| ledger.cell(self.worker).executed())
    }

    /// Returns whether it has ended.
    fn reap(&mut self, ledger: Option<&Ledger>, finishing: bool) -> Result<bool, Error> {
        let Some(child) = &mut self.child else { return Ok(false) };
        let Some(status) = child.try_wait().map_err(Error::system("waitpid"))? else {
            return Ok(false);
        };
        let (worker, pid) = (self.worker, child.id());
        self.child = None;
        if finishing {
            return Ok(true);
        }
        // And without progress. One that says itself that it cannot go on may have tried for long.
        let at_once = self.start.elapsed() < FAST || status.code().is_some();
        let fast = at_once && self.executed(ledger) <= self.executed_at_start;
        self.fast_deaths = if fast { self.fast_deaths + 1 } else { 0 };
        if self.fast_deaths >= FAST_DEATHS_MAX {
            let why = format!(
                "ended {FAST_DEATHS_MAX} times in a row without any progress ({status}); see its messages \
                 above. The session stays unfinished: start the load balancer again"
            );
            return Err(Error::Worker { worker: worker.get(), why });
        }
        common::tell!(
            "loadbalancer: worker {worker} (process {pid}) ended: {status}; starting it again"
        );
        let earlier = self.fast_deaths.checked_sub(1);
        self.start = Instant::now() + earlier.map_or(Duration::ZERO, |n| PAUSE * (1 << n));
        Ok(true)
    }

    fn start(&mut self, how: &Start, instance: &Instance) -> Result<(), Error> {
        let program = &how.program;
        let mut command = Command::new(program);
        service_manager::keep_from(&mut command)
            .arg(OsString::from_iter(["--dir=".as_ref(), instance.path().as_os_str()]))
            .args(["--spawned-by", &std::process::id().to_string(), &self.worker.to_string()])
            .args(how.durable.then_some("--durable"))
            .args(common::program::say::is_quiet().then_some("--quiet"))
            .args(how.bar.then_some("--beside-bar"))
            .args(how.work.to_args())
            // A group of its own: Ctrl-C in a terminal asks the load balancer to drain, and nobody else.
            .process_group(0);
        // The directory that is open here: its path may name another one by now.
        let directory = instance.directory().file().try_clone();
        let error = match directory.and_then(|directory| command.stdin(directory).spawn()) {
            Ok(child) => {
                self.child = Some(child);
                self.start = Instant::now();
                return Ok(());
            }
            Err(error) => error,
        };
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let passes = matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
        if passes && !signals::is_asked_to_end() {
            if once(&mut self.told) {
                let worker = self.worker;
                common::tell!("loadbalancer: cannot start worker {worker}: {error}; trying again");
            }
            self.start = Instant::now() + FAST;
            return Ok(());
        }
        let (of, advice) = match errno {
            _ if passes => ("", "the session stays unfinished"),
            Errno::ENOENT if program.exists() => (" (of its #! line)", NAME_ANOTHER),
            _ => ("", NAME_ANOTHER),
        };
        let why = format!("cannot start {}: {error}{of}; {advice}", program.display());
        Err(Error::Worker { worker: self.worker.get(), why })
    }

    /// Looks after one that lives. What is stopped is replaced. Of any other that does not go on, what is
    /// missing in its queue is sent again; or it is reported, and not killed: whoever holds it goes on with it.
    fn watch(&mut self, instance: &Instance, left: Option<Left>) -> Result<(), Error> {
        let (worker, pid) = (self.worker, self.pid());
        let state = pid.and_then(ProcessStat::of).map(|stat| stat.state);
        let is_stopped = state == Some('T');
        let left = left.filter(|_| !is_stopped);
        let lasts = self.still.lasts((is_stopped, left.map(|left| left.executed)));
        if let Some(pid) = pid.filter(|_| is_stopped) {
            if lasts >= REPORT_STOPPED_AFTER && once(&mut self.still.told) {
                common::tell!(
                    "loadbalancer: worker {worker} (process {pid}) is stopped; it is replaced after \
                     {STILL_MAX:?}"
                );
            }
            if lasts >= STILL_MAX {
                // Reaped and replaced at the next look. It fails only if the worker is gone already.
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        let due = left.filter(|_| lasts >= STILL_MAX);
        let Some(Left { messages, queued, finishing, .. }) = due else { return Ok(()) };
        if queued.unwrap_or(0) == 0 {
            // Others took the frames; or its queue is not what the ledger says. It makes another one.
            queue::remove_all(instance, |other| other == worker)?;
            self.still.since = None;
        }
        if queued != Some(0) && once(&mut self.still.told) {
            let what = match messages {
                _ if finishing => "its total is missing".to_owned(),
                messages => format!("{messages} messages wait for it"),
            };
            let why = match pid {
                Some(pid) if state == Some('t') => format!("process {pid} is traced"),
                Some(pid) => format!("process {pid} seems to be frozen"),
                None => "it seems to be stopped".to_owned(),
            };
            common::tell!(
                "loadbalancer: worker {worker} makes no progress: {what}; {why}: continue or end it"
            );
        }
        Ok(())
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
