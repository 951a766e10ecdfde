//! One case: a session up to its phase, the damage, and what must follow.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::oracle::{canonical_log, difference};
use tests::{Ended, Process, Sandbox, objects_that_stay, signal_all};

use super::damage::{Damage, FOREIGN, RENAMED};
use super::phase::{Phase, hold};
use crate::witness;

const PATIENCE: Duration = Duration::from_secs(30);
const TEXT: &str = "Halo A";
const WORKERS: &str = "2";
const WORKERS_COUNT: u32 = 2;
const OTHER_WORKERS: &str = "3";

type Outcome = Result<(), String>;

/// A case being played.
pub(crate) struct Trial<'a> {
    sandbox: &'a Sandbox,
    phase: Phase,
    damage: Damage,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox, phase: Phase, damage: Damage) -> Self {
        Self { sandbox, phase, damage }
    }

    /// Plays it. Returns false if the phase passed unmet.
    pub(crate) fn play(&self) -> Result<bool, String> {
        self.submit()?;
        let inflict = || self.damage.inflict(self.sandbox).map_err(|error| error.to_string());
        if self.phase == Phase::NotStarted {
            inflict()?;
            self.judge(None)?;
            return Ok(true);
        }
        let serve = ["--serve", WORKERS];
        let arguments = if self.phase == Phase::Totals { &serve[..] } else { &serve[1..] };
        let mut balancer = self.sandbox.start("loadbalancer", arguments);
        if !hold(self.sandbox, self.phase, &balancer)? {
            return Ok(false);
        }
        inflict()?;
        signal_all(&self.sandbox.dir(), Signal::SIGCONT);
        let ended = self.end(&mut balancer)?;
        let late = self.damage == Damage::ForeignLineUnderLock && ended.status.success();
        if late && self.sandbox.log() == self.expected() + FOREIGN {
            return Ok(false); // the lock was free only after the last line
        }
        self.judge(Some(&ended))?;
        Ok(true)
    }

    /// What the crash table promises.
    fn judge(&self, running: Option<&Ended>) -> Outcome {
        match self.damage {
            Damage::Queues => match running {
                Some(ended) => ended.expect_code(0)?,
                None => self.again(0)?,
            },
            Damage::Segment | Damage::SegmentAndQueues => {
                if let Some(ended) = running {
                    ended.expect_code(3)?;
                    says(ended, "was removed by another program")?;
                }
                self.again(0)?;
            }
            Damage::Reboot => {
                // Only once a worker's line is there does the log tell N.
                if matches!(self.phase, Phase::Executed | Phase::Totals) {
                    let refused = self.expect("loadbalancer", &[OTHER_WORKERS], 2)?;
                    says(&refused, "--fresh")?;
                    says(&refused, "resuming the session")?;
                    self.again(0)?;
                } else {
                    let resumed = self.expect("loadbalancer", &[WORKERS], 0)?;
                    says(&resumed, "resuming the session")?;
                }
            }
            Damage::LogRenamed => {
                self.refused(running)?;
                let log = self.sandbox.log_path();
                let renamed = log.with_file_name(RENAMED);
                self.is_beginning(&fs::read_to_string(&renamed).unwrap_or_default())?;
                fs::rename(renamed, log).map_err(|error| error.to_string())?;
                self.again(0)?;
            }
            Damage::LogUnlinked | Damage::LogTruncated => {
                self.refused(running)?;
                return self.fresh();
            }
            Damage::ForeignLine | Damage::ForeignLineUnderLock => {
                self.refused(running)?;
                let log = self.sandbox.log();
                if !log.contains(FOREIGN) {
                    return Err("the foreign line was written over".to_owned());
                }
                let own = log.replacen(FOREIGN, "", 1);
                self.is_beginning(&own)?;
                fs::write(self.sandbox.log_path(), own).map_err(|error| error.to_string())?;
                self.again(0)?;
            }
        }
        self.is_exact()?;
        self.is_clean()
    }

    /// The damage was noticed, also by the next one who comes; the ledger is kept, and the log not
    /// written any more.
    fn refused(&self, running: Option<&Ended>) -> Outcome {
        if let Some(ended) = running {
            ended.expect_code(3)?;
            says(ended, "sistem.log")?;
        }
        let before = self.sandbox.log();
        let again = self.expect("loadbalancer", &[WORKERS], 3)?;
        says(&again, "sistem.log")?;
        if self.sandbox.log() != before {
            return Err("something was written although the log was refused".to_owned());
        }
        if witness::ledger(&self.sandbox.dir()).is_none() {
            return Err("the ledger was not kept".to_owned());
        }
        Ok(())
    }

    /// The session is given up, and a new one is not disturbed by it.
    fn fresh(&self) -> Outcome {
        let mut balancer = self.sandbox.start("loadbalancer", &["--fresh", WORKERS]);
        self.sandbox.wait_until("the new session may be joined", || {
            !balancer.is_running()
                || witness::ledger(&self.sandbox.dir()).is_none() && self.sandbox.has_balancer()
        });
        self.submit()?;
        self.end(&mut balancer)?.expect_code(0)?;
        self.is_exact()?;
        self.is_clean()
    }

    fn submit(&self) -> Outcome {
        let submission = format!("{TEXT};{}", self.phase.count());
        self.expect("client", &[&submission], 0).map(drop)
    }

    fn again(&self, expected: i32) -> Outcome {
        self.expect("loadbalancer", &[WORKERS], expected).map(drop)
    }

    fn expect(&self, program: &str, arguments: &[&str], expected: i32) -> Result<Ended, String> {
        let ended = self.end(&mut self.sandbox.start(program, arguments))?;
        ended.expect_code(expected)?;
        Ok(ended)
    }

    fn end(&self, process: &mut Process) -> Result<Ended, String> {
        let left = || format!("does not end{}", witness::dump(&self.sandbox.dir()));
        process.wait(PATIENCE).ok_or_else(left)
    }

    fn expected(&self) -> String {
        canonical_log(&[(TEXT, self.phase.count())], WORKERS_COUNT)
    }

    fn is_exact(&self) -> Outcome {
        difference(&self.sandbox.log(), &self.expected()).map_or(Ok(()), Err)
    }

    fn is_beginning(&self, log: &str) -> Outcome {
        if self.expected().starts_with(log) { Ok(()) } else { Err("the log was spoilt".to_owned()) }
    }

    fn is_clean(&self) -> Outcome {
        self.sandbox.wait_until("all processes are gone", || self.sandbox.processes().is_empty());
        let objects = objects_that_stay(&self.sandbox.dir());
        if objects.is_empty() { Ok(()) } else { Err(format!("IPC objects are left: {objects:?}")) }
    }
}

fn says(ended: &Ended, what: &str) -> Outcome {
    if ended.stderr.contains(what) {
        return Ok(());
    }
    Err(format!("`{}` does not say `{what}`: {}", ended.name, ended.stderr))
}
