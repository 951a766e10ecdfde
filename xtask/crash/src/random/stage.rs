//! The processes of a round: started, killed, stopped, continued, and how each one ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Ended, Process, Sandbox, signal_all};

use super::client::Client;
use super::letters::check_exit_code;
use super::log::{read_lines, read_log};
use super::plan::{Deed, Part, RoundPlan};
use super::tally::{Count, Tally};
use crate::witness;

/// How long a killed process may take to go.
const REAPING: Duration = Duration::from_secs(10);
/// How long a handler is waited for that is to be met.
const HANDLER_COMES: Duration = Duration::from_millis(10);

/// A program that the person runs in a terminal: the balancer, or a worker started by hand.
pub(crate) struct Terminal {
    pub(crate) process: Process,
    pub(crate) started: Instant,
    /// There was something for it to do when it was started.
    pub(crate) had_work: bool,
    pub(crate) told_to_end: bool,
    /// Of a round with work: how many sessions had ended in the log when it was started.
    sessions: u64,
}

impl fmt::Display for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "started {:?} ago, had work: {}, told to end: {}",
            self.started.elapsed(),
            self.had_work,
            self.told_to_end
        )
    }
}

pub(crate) struct Stage<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) plan: &'a RoundPlan,
    pub(crate) clients: Vec<Client>,
    pub(crate) balancer: Option<Terminal>,
    /// Workers that were started by hand.
    pub(crate) workers: Vec<Option<Terminal>>,
    /// Who died without having finished, and has not been started again.
    pub(crate) owed: Vec<Part>,
    pub(crate) tally: Tally,
    /// Errors are expected: a process may end with one that it explains.
    pub(crate) may_fail: bool,
    /// Those that did, and what they wrote to stderr.
    pub(crate) failed: Vec<(Part, String)>,
    workers_killed: u32,
    /// How each one ended, for a person.
    pub(crate) ends: Vec<String>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox, plan: &'a RoundPlan) -> Self {
        let clients = plan.clients.iter().enumerate().map(|(i, c)| Client::new(i, c)).collect();
        Self {
            sandbox,
            plan,
            clients,
            balancer: None,
            workers: (0..plan.workers).map(|_| None).collect(),
            owed: Vec::new(),
            tally: Tally::default(),
            may_fail: false,
            failed: Vec::new(),
            workers_killed: 0,
            ends: Vec::new(),
        }
    }

    /// Does what was decided; nothing if the process is not there, or there already.
    pub(crate) fn act(&mut self, deed: Deed, part: Part) -> Result<(), String> {
        let met = match deed {
            Deed::Start => self.start(part)?,
            Deed::Kill => self.kill(part)?,
            Deed::KillBoth => self.kill_both(part)?,
            Deed::Stop => self.signal(part, Signal::SIGSTOP),
            Deed::Continue => self.signal(part, Signal::SIGCONT),
            Deed::Drain => self.drain(),
        };
        if met {
            self.tally.met(deed, part);
        }
        Ok(())
    }

    /// Starts a process that does not run. Spawned workers are the balancer's business.
    pub(crate) fn start(&mut self, part: Part) -> Result<bool, String> {
        self.reap()?;
        let started = match part {
            Part::Client(index) => self.clients[index].start(self.sandbox)?,
            Part::Balancer if self.balancer.is_none() => {
                let args = self.plan.balancer_args();
                self.balancer = Some(self.open("loadbalancer", args)?);
                true
            }
            Part::Worker(number) if self.plan.by_hand && self.hand(number).is_none() => {
                let args = vec![number.to_string()];
                *self.hand(number) = Some(self.open("worker", args)?);
                true
            }
            _ => false,
        };
        self.owed.retain(|&owed| owed != part);
        Ok(started)
    }

    fn open(&self, program: &str, mut args: Vec<String>) -> Result<Terminal, String> {
        let had_work = self.has_work()?;
        let mut sessions = 0;
        if let Some(work) = &self.plan.work {
            // A balancer that starts no workers has nothing to do with what they do.
            if program == "worker" || !self.plan.by_hand {
                args.extend(work.args(self.sandbox)?);
            }
            sessions = read_lines(self.sandbox, self.plan)?.log.sessions;
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = self.sandbox.start(program, &args);
        Ok(Terminal { process, started: Instant::now(), had_work, told_to_end: false, sessions })
    }

    /// Whether a balancer that is started now will find, or be given, something to do.
    fn has_work(&self) -> Result<bool, String> {
        for client in &self.clients {
            if !client.left()?.is_empty() {
                return Ok(true);
            }
        }
        let begun = witness::ledger(&self.sandbox.dir()).is_some();
        let log = self.is_log_complete();
        Ok(begun || !log)
    }

    /// Whether the log ends at the end of a session.
    pub(crate) fn is_log_complete(&self) -> bool {
        read_log(self.sandbox, self.plan).is_ok()
    }

    fn hand(&mut self, number: u32) -> &mut Option<Terminal> {
        &mut self.workers[number as usize - 1]
    }

    /// Before either can notice that the other one is dead. Returns whether both were there.
    fn kill_both(&mut self, worker: Part) -> Result<bool, String> {
        let met = [worker, Part::Balancer].map(|part| self.signal(part, Signal::SIGKILL));
        for (part, met) in [worker, Part::Balancer].into_iter().zip(met) {
            if met {
                self.tally.met(Deed::Kill, part);
            }
            // It is waited for, if nobody else does that.
            if part == Part::Balancer || self.plan.by_hand {
                self.kill(part)?;
            }
        }
        self.workers_killed += u32::from(met[0]);
        Ok(met == [true; 2])
    }

    fn kill(&mut self, part: Part) -> Result<bool, String> {
        if let Part::Handler(_) = part {
            return Ok(self.signal(part, Signal::SIGKILL));
        }
        if let (Part::Worker(_), false) = (part, self.plan.by_hand) {
            let killed = self.signal(part, Signal::SIGKILL);
            self.workers_killed += u32::from(killed);
            self.look_for_pending(killed);
            return Ok(killed);
        }
        self.reap()?;
        let Some(process) = self.process(part) else { return Ok(false) };
        process.signal(Signal::SIGKILL);
        let ended = process.wait(REAPING).ok_or("a process survives SIGKILL")?;
        let killed = ended.status.signal() == Some(Signal::SIGKILL as i32);
        self.look_for_pending(killed);
        self.forget(part, &ended)?;
        if killed && matches!(part, Part::Worker(_)) {
            self.workers_killed += 1;
        }
        Ok(killed)
    }

    fn look_for_pending(&mut self, killed: bool) {
        if killed && witness::ledger(&self.sandbox.dir()).is_some_and(|ledger| ledger.is_pending())
        {
            self.tally.counts.add(Count::Pending, true);
        }
    }

    fn signal(&mut self, part: Part, signal: Signal) -> bool {
        if let Part::Handler(turn) = part {
            // There is mostly one, but none for long.
            let start = Instant::now();
            let mut handlers = super::work::handlers(self.sandbox);
            while handlers.is_empty() && start.elapsed() < HANDLER_COMES {
                handlers = super::work::handlers(self.sandbox);
            }
            let met = handlers.get(turn % handlers.len().max(1));
            return met.is_some_and(|&pid| kill(pid, signal).is_ok());
        }
        if let (Part::Worker(number), false) = (part, self.plan.by_hand) {
            let pid = self.sandbox.spawned_worker(number).map(Pid::from_raw);
            return pid.is_some_and(|pid| kill(pid, signal).is_ok());
        }
        self.process(part).map(|process| process.signal(signal)).is_some()
    }

    fn drain(&mut self) -> bool {
        let Some(balancer) = &mut self.balancer else { return false };
        balancer.process.signal(Signal::SIGTERM);
        balancer.told_to_end = true;
        true
    }

    /// The process of a part that is running, as far as is known.
    fn process(&mut self, part: Part) -> Option<&mut Process> {
        match part {
            Part::Client(index) => {
                let client = &mut self.clients[index];
                if !client.is_running {
                    return None;
                }
                client.lives.last_mut().map(|life| &mut life.process)
            }
            Part::Balancer => self.balancer.as_mut().map(|balancer| &mut balancer.process),
            Part::Worker(number) => self.hand(number).as_mut().map(|worker| &mut worker.process),
            Part::Handler(_) => None,
        }
    }

    /// Every part that runs, as far as is known.
    pub(crate) fn running(&self) -> Vec<Part> {
        let clients =
            (0..self.clients.len()).filter(|&i| self.clients[i].is_running).map(Part::Client);
        let workers =
            (1..).zip(&self.workers).filter(|(_, w)| w.is_some()).map(|(k, _)| Part::Worker(k));
        clients.chain(self.balancer.as_ref().map(|_| Part::Balancer)).chain(workers).collect()
    }

    /// Notices who has ended.
    pub(crate) fn reap(&mut self) -> Result<(), String> {
        for part in self.running() {
            let ended = self.process(part).and_then(|process| process.wait(Duration::ZERO));
            if let Some(ended) = ended {
                self.forget(part, &ended)?;
            }
        }
        Ok(())
    }

    /// Judges an end: 0, or what a fault explains.
    fn forget(&mut self, part: Part, ended: &Ended) -> Result<(), String> {
        let (code, signal) = (ended.status.code(), ended.status.signal());
        self.ends.push(format!("`{}` ended with {}", ended.name, ended.status));
        let mut explained = code == Some(0) || signal == Some(Signal::SIGKILL as i32);
        // Before it watches for signals; or as documented: a worker by the first one, the balancer by
        // the second.
        let by_term = signal == Some(Signal::SIGTERM as i32) || code == Some(143);
        let mut is_owed = code != Some(0);
        match part {
            Part::Handler(_) => {}
            Part::Client(index) => self.clients[index].ended(),
            Part::Worker(number) => {
                let told_to_end = self.hand(number).take().is_some_and(|w| w.told_to_end);
                if by_term && told_to_end {
                    (explained, is_owed) = (true, false);
                }
            }
            Part::Balancer => {
                let balancer = self.balancer.take();
                if let (Some(_), Some(code @ (0 | 1)), Some(balancer)) =
                    (self.plan.work, code, &balancer)
                {
                    let sessions = balancer.sessions;
                    check_exit_code(self.sandbox, self.plan, code, sessions)
                        .map_err(|wrong| format!("`{}`: {wrong}: {}", ended.name, ended.stderr))?;
                    (explained, is_owed) = (true, false);
                }
                explained |= balancer.is_some_and(|b| b.told_to_end) && by_term;
                let given_up = code == Some(3) && ended.stderr.contains("times in a row");
                // COMMAND may kill workers, too.
                if given_up && (self.workers_killed >= 5 || self.plan.work.is_some()) {
                    self.tally.counts.add(Count::GivenUp, true);
                    explained = true;
                }
            }
        }
        if is_owed {
            self.owed.push(part);
        }
        if self.may_fail && code == Some(3) && !ended.stderr.trim().is_empty() {
            self.failed.push((part, ended.stderr.clone()));
            explained = true;
        }
        if explained && !ended.stderr.contains("panicked at") {
            return Ok(());
        }
        Err(format!("`{}` ended with {}: {}", ended.name, ended.status, ended.stderr))
    }

    /// Continues whatever is stopped.
    pub(crate) fn continue_all(&self) {
        signal_all(&self.sandbox.dir(), Signal::SIGCONT);
    }
}
