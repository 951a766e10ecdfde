//! The workers as processes: started, missed, reported, replaced.
//!
//! | seen | done |
//! |---|---|
//! | a spawned worker ends | reported; started again at once |
//! | … within a second and without progress | … after a pause of 0.1, 0.2, 0.4, 0.8 s; the fifth time in a row: an error |
//! | a spawned worker is stopped for 1 s | reported |
//! | … for 3 s | killed and replaced |
//! | any worker executes nothing for 3 s of what waits in its queue: it is traced, frozen, stopped by hand | reported, once |
//! | a worker started by hand is missing | asked for, once |
//! | a child that is no worker ends | reaped |

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::advice;
use common::error::Error;
use common::fence::signals;
use common::instance::Instance;
use common::ledger::Ledger;
use common::pause::pause;
use common::role::Role;
use common::rotation::{WorkerId, Workers};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use crate::dispatch::Dispatch;

const FAST_DEATHS_MAX: u32 = 5;
const FAST: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
const REPORT_STOPPED_AFTER: Duration = Duration::from_secs(1);
const KILL_STOPPED_AFTER: Duration = Duration::from_secs(3);
const REPORT_STUCK_AFTER: Duration = Duration::from_secs(3);
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
    program: Option<PathBuf>,
    begun: Instant,
}

struct Member {
    worker: WorkerId,
    child: Option<Child>,
    started: Instant,
    executed_at_start: u64,
    fast_deaths: u32,
    start_at: Option<Instant>,
    stopped_since: Option<Instant>,
    told_stopped: bool,
    stuck: Option<Stuck>,
    told_missing: bool,
    told_no_fork: bool,
}

/// A worker that leaves something in its queue.
struct Stuck {
    since: Instant,
    executed: u64,
    told: bool,
}

/// The worker program beside this one.
pub(crate) fn worker_program() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::system("own program file"))?;
    Ok(own.with_file_name("worker"))
}

impl Crew {
    pub(crate) fn new(workers: Workers, program: Option<PathBuf>) -> Self {
        let now = Instant::now();
        let member = |worker| Member {
            worker,
            child: None,
            started: now,
            executed_at_start: 0,
            fast_deaths: 0,
            start_at: None,
            stopped_since: None,
            told_stopped: false,
            stuck: None,
            told_missing: false,
            told_no_fork: false,
        };
        Self { members: workers.ids().map(member).collect(), program, begun: now }
    }

    /// Another log: who was there before may take a moment to come again.
    pub(crate) fn begin_again(&mut self) {
        self.begun = Instant::now();
    }

    /// Looks after everyone; without a session they wait for one. `finishing`: everything is logged, only
    /// totals are missing, so the dead are not replaced. Returns when to look again at the latest.
    pub(crate) fn tend(
        &mut self,
        instance: &Instance,
        session: Option<(&Ledger, &Dispatch)>,
        finishing: bool,
    ) -> Result<Option<Instant>, Error> {
        let ledger = session.map(|(ledger, _)| ledger);
        let mut look_again: Option<Instant> = None;
        let young = self.begun.elapsed() < FAST;
        for member in &mut self.members {
            member.reap(ledger, finishing)?;
            let stuck = member.stuck.take();
            if member.child.is_some() {
                member.watch_stopped();
                member.stuck = member.watch_progress(stuck, session, finishing);
            } else if instance.is_held_by_another(Role::Worker(member.worker))? {
                member.stuck = member.watch_progress(stuck, session, finishing);
                // By hand; or a killed balancer's, which may take a moment to die.
                member.told_missing = false;
                let dying = young && self.program.is_some();
                member.start_at = dying.then(|| Instant::now() + DYING);
            } else if let Some(ledger) = ledger.filter(|_| finishing) {
                if !ledger.cell(member.worker).is_finished() {
                    ledger.cell(member.worker).set_finished();
                    ledger.doorbell().ring(); // its total is ready, and nobody else knows
                }
                member.start_at = None;
            } else if let Some(program) = &self.program {
                let at = *member.start_at.get_or_insert_with(Instant::now);
                if at <= Instant::now() {
                    member.start(program, instance, ledger)?;
                }
            } else if self.begun.elapsed() < ASK_AFTER {
                look_again = Some(self.begun + ASK_AFTER);
            } else if !std::mem::replace(&mut member.told_missing, true) {
                let start = advice::command("worker", member.worker);
                common::tell!(
                    "loadbalancer: waiting for worker {}: start `{start}`",
                    member.worker
                );
            }
            look_again = [look_again, member.start_at].into_iter().flatten().min();
        }
        self.reap_others();
        Ok(look_again)
    }

    /// Reaps what is no worker: children of the program that became this one, and orphans, all of which
    /// come to PID 1 of a container. A worker's end is looked at, but left to [`Member::reap`].
    fn reap_others(&self) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(Some(pid)) = waitid(Id::All, look).map(|status| status.pid())
            && !self.members.iter().any(|member| member.is(pid))
        {
            // It fails only if there is nothing to reap.
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Waits for the workers to end; after so long they are killed.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<(), Error> {
        let start = Instant::now();
        for member in &mut self.members {
            while let Some(child) = &mut member.child {
                if child.try_wait().map_err(Error::system("waitpid"))?.is_some() {
                    member.child = None;
                    break;
                }
                if start.elapsed() > patience {
                    // What it has not counted is sent again, what it has not logged is logged by others.
                    child.kill().map_err(Error::system("kill"))?;
                }
                pause(Duration::from_micros(200));
            }
        }
        Ok(())
    }
}

/// However the balancer ends, none of the workers that it started is left. They are asked first: killed
/// inside a transaction, one would leave half a line in the log until the next start.
impl Drop for Crew {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // Only while it is not waited for is the number its own.
            if matches!(child.try_wait(), Ok(None)) {
                let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            }
        }
        // It fails only if a child was waited for elsewhere; then there is none to wait for.
        let _ = self.wait(DISMISS_PATIENCE);
    }
}

impl Member {
    fn is(&self, pid: Pid) -> bool {
        self.child.as_ref().is_some_and(|child| child.id().cast_signed() == pid.as_raw())
    }

    fn executed(&self, ledger: Option<&Ledger>) -> u64 {
        ledger.map_or(0, |ledger| ledger.cell(self.worker).executed())
    }

    fn reap(&mut self, ledger: Option<&Ledger>, finishing: bool) -> Result<(), Error> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let Some(status) = child.try_wait().map_err(Error::system("waitpid"))? else {
            return Ok(());
        };
        let pid = child.id();
        self.child = None;
        self.stopped_since = None;
        if finishing {
            return Ok(());
        }
        let progress = self.executed(ledger) > self.executed_at_start;
        if self.started.elapsed() < FAST && !progress {
            self.fast_deaths += 1;
        } else {
            self.fast_deaths = 0;
        }
        if self.fast_deaths >= FAST_DEATHS_MAX {
            let why = format!(
                "ended {FAST_DEATHS_MAX} times in a row as soon as it was started ({status}); see its messages \
                 above. The session stays unfinished: start the load balancer again"
            );
            return Err(Error::Worker { worker: self.worker.get(), why });
        }
        common::tell!(
            "loadbalancer: worker {} (process {pid}) ended: {status}; starting it again",
            self.worker
        );
        let pause = if self.fast_deaths == 0 {
            Duration::ZERO
        } else {
            PAUSE * (1 << (self.fast_deaths - 1))
        };
        self.start_at = Some(Instant::now() + pause);
        Ok(())
    }

    fn start(
        &mut self,
        program: &Path,
        instance: &Instance,
        ledger: Option<&Ledger>,
    ) -> Result<(), Error> {
        let mut command = Command::new(program);
        command
            .arg(OsString::from_iter(["--dir=".as_ref(), instance.path().as_os_str()]))
            .arg("--spawned-by")
            .arg(std::process::id().to_string())
            .arg(self.worker.to_string());
        // A group of its own: Ctrl-C in a terminal asks the load balancer to drain, and nobody else.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        // The directory that is open here: its path may name another one by now.
        let directory = instance.directory().file().try_clone();
        match directory.and_then(|directory| command.stdin(Stdio::from(directory)).spawn()) {
            Ok(child) => {
                self.child = Some(child);
                self.started = Instant::now();
                self.executed_at_start = self.executed(ledger);
                self.start_at = None;
                self.told_no_fork = false;
                Ok(())
            }
            Err(error)
                if matches!(
                    errno(&error),
                    Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE
                ) =>
            {
                if signals::is_asked_to_end() {
                    let why = format!("cannot be started: {error}; the session stays unfinished");
                    return Err(Error::Worker { worker: self.worker.get(), why });
                }
                if !std::mem::replace(&mut self.told_no_fork, true) {
                    common::tell!(
                        "loadbalancer: cannot start worker {}: {error}; trying again",
                        self.worker
                    );
                }
                self.start_at = Some(Instant::now() + FAST);
                Ok(())
            }
            Err(error) => {
                let of = if program.exists() && errno(&error) == Errno::ENOENT {
                    " (of its #! line)"
                } else {
                    ""
                };
                let program = program.display();
                let why = format!(
                    "cannot start {program}: {error}{of}; name one that can be started with --worker-program"
                );
                Err(Error::Worker { worker: self.worker.get(), why })
            }
        }
    }

    fn watch_stopped(&mut self) {
        let Some(child) = &mut self.child else { return };
        if state(child.id()) != Some('T') {
            self.stopped_since = None;
            self.told_stopped = false;
            return;
        }
        let since = *self.stopped_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= REPORT_STOPPED_AFTER
            && !std::mem::replace(&mut self.told_stopped, true)
        {
            common::tell!(
                "loadbalancer: worker {} (process {}) is stopped; it is replaced after {} s",
                self.worker,
                child.id(),
                KILL_STOPPED_AFTER.as_secs()
            );
        }
        if since.elapsed() >= KILL_STOPPED_AFTER {
            // Reaped and replaced at the next look. It fails only if the worker is gone already.
            let _ = child.kill();
        }
    }

    /// A worker that lives and does not run. Whoever holds it goes on with it: it is not killed.
    fn watch_progress(
        &self,
        before: Option<Stuck>,
        session: Option<(&Ledger, &Dispatch)>,
        finishing: bool,
    ) -> Option<Stuck> {
        let (ledger, dispatch) = session?;
        let waiting = dispatch.waiting(self.worker, ledger, finishing)?;
        let executed = ledger.cell(self.worker).executed();
        let mut stuck = before.filter(|stuck| stuck.executed == executed).unwrap_or(Stuck {
            since: Instant::now(),
            executed,
            told: false,
        });
        let due = stuck.since.elapsed() >= REPORT_STUCK_AFTER && self.stopped_since.is_none();
        if due && !std::mem::replace(&mut stuck.told, true) {
            let what = match waiting {
                _ if finishing => "its total is missing".to_owned(),
                waiting => format!("{waiting} messages wait for it"),
            };
            let why = match self.child.as_ref().map(|child| (child.id(), state(child.id()))) {
                Some((pid, Some('t'))) => format!("process {pid} is traced"),
                Some((pid, _)) => format!("process {pid} seems to be frozen"),
                None => "it seems to be stopped".to_owned(),
            };
            common::tell!(
                "loadbalancer: worker {} makes no progress: {what}; {why}: continue or end it",
                self.worker
            );
        }
        Some(stuck)
    }
}

/// The state of a process, as `proc_pid_stat(5)` names it: T is stopped by a signal, t by a tracer.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
