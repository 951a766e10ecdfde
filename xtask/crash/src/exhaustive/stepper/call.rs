//! What is done to the stepped process at its system calls.

use std::path::Path;
use std::sync::atomic::Ordering;

use nix::Result;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::ptrace::{self, Call};

use super::super::made::Made;
use super::super::point::{At, Moment};
use super::super::steps::Struck;
use super::super::successor;
use super::Stepper;
use crate::errors::table;
use crate::witness;

impl Stepper {
    /// At the exit of a call. Returns whether the process was killed there.
    pub(super) fn at_exit(&mut self, pid: Pid, result: i64) -> Result<bool> {
        match self.stop.at {
            Some((_, moment)) if self.inside => return self.leave_struck(pid, moment),
            // It is stopped: if there are two now, it has made the second one.
            Some(_) if self.steps.failed && self.is_shmget => {
                let second = witness::segments(&self.dir) > 1;
                self.told.made_second_ledger.fetch_or(second, Ordering::SeqCst);
            }
            None if self.steps.opened_at.is_none() => {
                let link = std::fs::read_link(format!("/proc/{pid}/fd/{result}"));
                if link.is_ok_and(|link| link == self.dir) {
                    self.steps.opened_at = Some(self.steps.calls);
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// At its entry, likewise.
    pub(super) fn at_entry(&mut self, pid: Pid, call: &Call) -> Result<bool> {
        self.is_log_write = self.files.iter().any(|file| writes_to(pid, call, file));
        self.is_shmget = call.number == libc::SYS_shmget;
        self.steps.calls += 1;
        self.steps.writes += u32::from(self.is_log_write);
        let nth = self.counts.count(call);
        let Some((at, moment)) = self.stop.at else {
            self.steps.made.extend(nth.map(|n| Made::of(pid, call, n)));
            return Ok(false);
        };
        let here = match at {
            At::Call(n) => n == self.steps.calls,
            At::Write(n) => self.is_log_write && n == self.steps.writes,
            At::Nth { number, n } => call.number == number && nth == Some(n),
        };
        if !here || self.steps.is_reached() {
            return Ok(false);
        }
        match moment {
            Moment::Entry => {
                self.strike(pid, false);
                return Ok(true);
            }
            Moment::Exit | Moment::Outlive => self.inside = true,
            Moment::Torn(portion) if self.is_log_write && call.arguments[2] > 1 => {
                ptrace::set_third_argument(pid, portion.of(call.arguments[2]))?;
                self.inside = true;
            }
            Moment::Torn(_) => {} // nothing to tear: not reached
            Moment::Fails(error) => {
                // Made in another way than the one that was counted, it may not: not reached.
                self.inside =
                    table::row_of(pid, call).is_some_and(|row| row.errors.contains(&error));
                if self.inside && !table::is_done_anyway(call, error) {
                    ptrace::skip_call(pid)?;
                }
            }
        }
        Ok(false)
    }

    /// Inside a call that has made a child: who is killed at its exit is killed here, before the child is on its own.
    pub(super) fn at_birth(&mut self, pid: Pid) -> Result<bool> {
        match self.stop.at {
            Some((_, moment @ Moment::Exit)) if self.inside => self.leave_struck(pid, moment),
            _ => Ok(false),
        }
    }

    /// At the exit of the call in which the process is struck.
    fn leave_struck(&mut self, pid: Pid, moment: Moment) -> Result<bool> {
        self.inside = false;
        match moment {
            Moment::Fails(error) => {
                ptrace::set_result(pid, -i64::from(error as i32))?;
                self.steps.failed = true;
            }
            Moment::Outlive => {
                self.steps.outlived = true;
                successor::replace_balancer(&self.dir, pid);
            }
            _ => {
                self.strike(pid, matches!(moment, Moment::Torn(_)));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn strike(&mut self, pid: Pid, torn: bool) {
        // Looked at while it is stopped: afterwards others may complete what it leaves.
        let pending = witness::is_inside_transaction(&self.dir, pid);
        self.steps.struck = Some(Struck { pending, torn });
        if self.stop.with_everyone {
            witness::kill_others(&self.dir, Some(pid));
        }
        // It may be dead already, with the load balancer that started it.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Whether a call writes to this file. A vectored write would need another way to be cut short, and
/// the product has none: a run in which no write was seen fails as blind.
fn writes_to(pid: Pid, call: &Call, file: &Path) -> bool {
    matches!(call.number, libc::SYS_write | libc::SYS_pwrite64)
        && std::fs::read_link(format!("/proc/{pid}/fd/{}", call.arguments[0]))
            .is_ok_and(|link| link == file)
}
