//! The clients, one after the other.

use std::time::Instant;

use super::super::role::Role;
use super::ends::Fate;
use super::{Play, Scene};

impl Play<'_> {
    /// A client waits until the log is renamed, so who is killed meanwhile must come again.
    fn others_end(&mut self) -> Result<Scene, String> {
        if self.scenario.rotation.is_none() {
            return Ok(Scene::Over); // it waits for nobody
        }
        let is_other = |role: &Role| !matches!(role, Role::Client(_));
        let others: Vec<Role> = self.cast.keys().copied().filter(is_other).collect();
        for role in others {
            let Some(end) = self.try_end(role)? else { continue };
            if end.struck && !self.traces.is_empty() {
                return Ok(Scene::EveryoneDied);
            }
            match self.fate(role, &end)? {
                Fate::Gone => {}
                Fate::ComesAgain => self.start_again(role)?,
                Fate::HasFailed => self.start_failed_again(role)?,
            }
        }
        Ok(Scene::Over)
    }

    /// One client after the other, of those whose submissions are not accepted.
    pub(super) fn clients(&mut self) -> Result<Scene, String> {
        let mut next = self.accepted() + 1;
        while let Some(client) = self.scenario.clients.get(next - 1) {
            let role = Role::Client(u32::try_from(next).unwrap_or(u32::MAX));
            self.start(role)?;
            let since = Instant::now();
            let end = loop {
                if let Some(end) = self.try_end(role)? {
                    break end;
                }
                if self.others_end()? == Scene::EveryoneDied {
                    return Ok(Scene::EveryoneDied);
                }
                self.look_on(since, &format!("never happened: {role} ends"))?;
            };
            let lines = client.lines().map(|submission| format!("accepted {submission}\n"));
            let confirmed = end.stdout == lines.collect::<String>();
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
}
