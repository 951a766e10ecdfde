//! The clients, one after the other.

use super::super::oracle;
use super::super::role::Role;
use super::ends::Fate;
use super::{Play, Scene};
use crate::witness;

impl Play<'_> {
    /// One client after the other, for the submissions that are not accepted.
    pub(super) fn clients(&mut self) -> Result<Scene, String> {
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
            let mut has_failed = false;
            if !end.struck {
                has_failed = self.judge_end(role, &end)? == Fate::HasFailed;
            } else if !self.traces.is_empty() {
                return Ok(Scene::EveryoneDied);
            }
            let accepted = self.accepted();
            if confirmed && accepted < next {
                return Err(format!("{role} printed `accepted`, but nothing was"));
            }
            if end.stderr.contains("not accepted") && accepted >= next {
                return Err(format!(
                    "{role} says that it was not, but it is accepted: {}",
                    end.stderr
                ));
            }
            // It could not say so, and only if nothing was accepted its submission is given again.
            let is_silent = end.struck || has_failed;
            if !is_silent && !confirmed {
                return Err(format!("{role} did not print `accepted`: {:?}", end.stdout));
            }
            next = accepted.max(next - usize::from(is_silent)) + 1;
            if has_failed {
                self.failed.push(role);
                self.again.push(role);
            }
        }
        Ok(Scene::Over)
    }

    /// Submissions that are in the log, or will be once the next holder of its lock has been there.
    pub(super) fn accepted(&self) -> usize {
        let ledger = witness::cursors(&self.sandbox.dir()).map_or(0, |at| at.submissions);
        let logged = oracle::submissions(&self.sandbox.log()).len();
        usize::try_from(ledger).unwrap_or(usize::MAX).max(logged)
    }
}
