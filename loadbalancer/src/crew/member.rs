//! A worker as a process.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::error::Error;
use common::fence::signals;
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::ledger::Ledger;
use common::program::process_stat::ProcessStat;
use common::program::service_manager;
use common::program::work::Work;
use common::queue;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::table::{Death, STILL_MAX, Sight, on_death, on_sight};
use crate::dispatch::Left;
use crate::lasting::{Lasting, once};

const NAME_ANOTHER: &str = "name one that can be started with --worker-program";
/// Whoever ends within this time has ended at once.
const FAST: Duration = Duration::from_secs(1);

/// How a worker is started.
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    /// What is to be done with messages.
    pub(crate) work: Work,
    pub(crate) durable: bool,
    /// A progress bar is on the terminal.
    pub(crate) bar: bool,
}

pub(super) struct Member {
    pub(super) worker: WorkerId,
    pub(super) child: Option<Child>,
    /// When it was started, or is to be.
    pub(super) start: Instant,
    pub(super) executed_at_start: u64,
    fast_deaths: u32,
    /// That it is missing, or cannot be started.
    pub(super) reported: bool,
    /// It is stopped; so much is executed, and that is not all.
    still: Lasting<(bool, Option<u64>)>,
}

impl Member {
    pub(super) fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            child: None,
            start: Instant::now(),
            executed_at_start: 0,
            fast_deaths: 0,
            reported: false,
            still: Lasting::default(),
        }
    }

    /// What was seen of it while it was here.
    pub(super) fn forget(&mut self) {
        self.still = Lasting::default();
    }

    /// Of a child that is not waited for.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| Pid::from_raw(child.id().cast_signed()))
    }

    pub(super) fn executed(&self, ledger: Option<&Ledger>) -> u64 {
        ledger.map_or(0, |ledger| ledger.cell(self.worker).executed())
    }

    /// Returns whether it has ended.
    pub(super) fn reap(&mut self, ledger: Option<&Ledger>, finishing: bool) -> Result<bool, Error> {
        let Some(child) = &mut self.child else { return Ok(false) };
        let Some(status) = child.try_wait().map_err(Error::system("waitpid"))? else {
            return Ok(false);
        };
        let (worker, pid) = (self.worker, child.id());
        self.child = None;
        // And without progress. One that says itself that it cannot go on may have tried for long.
        let at_once = self.start.elapsed() < FAST || status.code().is_some();
        let fast = at_once && self.executed(ledger) <= self.executed_at_start;
        self.fast_deaths = if fast { self.fast_deaths + 1 } else { 0 };
        match on_death(finishing, self.fast_deaths) {
            Death::IsFine => {}
            Death::StartAgain(pause) => {
                common::tell!(
                    "loadbalancer: worker {worker} (process {pid}) ended: {status}; starting it again"
                );
                self.start = Instant::now() + pause;
            }
            Death::GiveUp => {
                let why = format!(
                    "ended {} times in a row without any progress ({status}); see its messages above. The session \
                     stays unfinished: start the load balancer again",
                    self.fast_deaths
                );
                return Err(Error::Worker { worker: worker.get(), why });
            }
        }
        Ok(true)
    }

    pub(super) fn start(&mut self, how: &Start, instance: &Instance) -> Result<(), Error> {
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
            if once(&mut self.reported) {
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

    /// Looks after one that is here. What is stopped is replaced. Of any other that does not go on, what is
    /// missing in its queue is sent again; or it is reported, and not killed: whoever holds it goes on with it.
    pub(super) fn watch(
        &mut self,
        instance: &Instance,
        ledger: Option<&Ledger>,
        left: Option<Left>,
    ) -> Result<(), Error> {
        let pid = self.pid();
        let state = pid.and_then(ProcessStat::of).map(|stat| stat.state);
        let sight = match left {
            _ if state == Some('T') => Sight::Stopped,
            Some(left) => Sight::Still(left.queued.into()),
            None => Sight::Fine,
        };
        let executed = left.filter(|_| sight != Sight::Stopped).map(|left| left.executed);
        let lasts = self.still.lasts((sight == Sight::Stopped, executed));
        let deed = on_sight(sight, lasts.into());
        if deed.reports_stop && once(&mut self.still.reported) {
            self.report_stop();
        }
        if let Some(pid) = pid.filter(|_| deed.kills) {
            // Reaped and replaced at the next look. It fails only if the worker is gone already.
            let _ = kill(pid, Signal::SIGKILL);
        }
        if deed.sends_again {
            // Others took the frames; or its queue is not what the ledger says. It makes another one.
            queue::remove_all(instance, ledger, |other| other == self.worker)?;
            self.still.since = None;
        }
        if let Some(left) = left.filter(|_| deed.reports_stillness)
            && once(&mut self.still.reported)
        {
            self.report_stillness(left, state);
        }
        Ok(())
    }

    fn report_stop(&self) {
        let Some(pid) = self.pid() else { return };
        common::tell!(
            "loadbalancer: worker {} (process {pid}) is stopped; it is replaced after {STILL_MAX:?}",
            self.worker
        );
    }

    fn report_stillness(&self, left: Left, state: Option<char>) {
        let what = match left.messages {
            _ if left.finishing => "its total is missing".to_owned(),
            messages => format!("{messages} messages wait for it"),
        };
        let why = match self.pid() {
            Some(pid) if state == Some('t') => format!("process {pid} is traced"),
            Some(pid) => format!("process {pid} seems to be frozen"),
            None => "it seems to be stopped".to_owned(),
        };
        common::tell!(
            "loadbalancer: worker {} makes no progress: {what}; {why}: continue or end it",
            self.worker
        );
    }
}
