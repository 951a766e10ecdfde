//! Nobody has anything to do any more: who waits in vain is sent away, and what is left is judged.

use std::time::{Duration, Instant};

use super::super::actor::Actor;
use super::super::role::Role;
use super::super::scenario::Rotation;
use super::super::steps::Steps;
use super::super::work::Struck;
use super::Play;
use crate::witness;

/// A load balancer makes its ledger, if it makes one without a submission, within so long.
const READY_WITHIN: Duration = Duration::from_millis(50);

impl Play<'_> {
    /// The load balancer is there, and may be joined: its ledger says N, or it waits without one.
    pub(super) fn is_ready(&mut self) -> bool {
        if let Some(at) = witness::cursors(&self.sandbox.dir()) {
            self.role_held_since = None;
            return at.workers == u64::from(self.scenario.workers);
        }
        if !witness::has_balancer(self.sandbox) {
            self.role_held_since = None;
            return false;
        }
        self.role_held_since.get_or_insert_with(Instant::now).elapsed() > READY_WITHIN
    }

    /// Nothing is left to do: there is no ledger, which is removed last, and the log is complete.
    pub(super) fn is_over(&self) -> bool {
        self.sandbox.segment().is_none() && self.is_log_complete()
    }

    /// Asks those to end who would wait for more work for ever.
    pub(super) fn dismiss(&mut self, clients_done: bool) {
        if !clients_done {
            return;
        }
        let at = witness::cursors(&self.sandbox.dir());
        let all = self.scenario.submissions().count() as u64;
        let logged =
            self.scenario.serve && at.is_some_and(|at| at.submissions == all && at.all_logged());
        // Where only a redo was missing, the first worker by hand to come ends the session, and those
        // after it find nothing to do. Nobody else may: a load balancer that is started for what others
        // left, and finds no session, would wait for ever; and one that serves, has finished what another
        // one was to drain and serves on.
        let waits_in_vain = at.is_none_or(|at| at.submissions == 0)
            && if self.may_fail {
                self.again.contains(&Role::Balancer)
            } else {
                (self.scenario.by_hand || self.scenario.serve) && !self.steps.is_empty()
            };
        let rests = at.is_none() && self.has_rotated();
        let has_nothing = logged || waits_in_vain && self.is_log_complete() || rests;
        if !self.drained && has_nothing && self.is_ready() {
            let balancer = self.cast.get(&Role::Balancer);
            self.drained = balancer.is_some_and(Actor::terminate);
        }
        let only_latecomers =
            self.cast.keys().all(|role| self.again.contains(role) && *role != Role::Balancer);
        // Ended between two sessions, a load balancer leaves workers by hand waiting for the next one.
        let only_workers = self.scenario.rotation == Some(Rotation::BySize)
            && !self.cast.contains_key(&Role::Balancer)
            && (self.has_rotated() || self.is_over());
        if only_latecomers && self.is_log_complete() || only_workers {
            for actor in self.cast.values() {
                actor.terminate();
            }
        }
    }

    fn is_log_complete(&self) -> bool {
        self.oracle.is_some_and(|oracle| oracle.judge(&self.whole_log()).is_ok())
    }

    /// The log is what it should be, and nothing else is left.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        if let Some(oracle) = self.oracle {
            oracle.judge(&self.whole_log())?;
            self.judge_logs()?;
        }
        self.wait_for("all processes are gone", |play| play.sandbox.processes().is_empty())?;
        let logs = self.sandbox.logs();
        let names = logs.iter().filter_map(|log| log.file_name()).map(|name| name.display());
        let mut may_stay: Vec<String> = names.map(|name| format!("file {name}")).collect();
        may_stay.extend(self.scenario.work.map(|_| format!("file {}", common::dead::NAME)));
        let mut left = self.sandbox.leftovers();
        left.retain(|what| !may_stay.contains(what));
        if !left.is_empty() {
            return Err(format!("left: {}", left.join(", ")));
        }
        if let Some(work) = self.scenario.work {
            let torn = self.steps.iter().filter(|s| s.struck.is_some_and(|struck| struck.torn));
            let any = self.steps.iter().any(Steps::is_reached);
            let struck = Struck { any, torn: torn.count() };
            work.judge(self.scenario.messages(), self.sandbox, struck)?;
        }
        let unexplained = !self.failed.is_empty() && !self.steps.iter().any(|steps| steps.failed);
        if unexplained {
            return Err(format!("{:?} ended with an error, and no call had failed", self.failed));
        }
        Ok(())
    }
}
