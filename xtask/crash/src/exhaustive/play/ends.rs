//! How programs ended, and what follows.

use super::super::actor::{Actor, End};
use super::super::role::Role;
use super::super::scenario::Rotation;
use super::super::steps::Target;
use super::Play;
use crate::witness;

pub(super) const SECOND_LEDGER: &str = "a second ledger was made beside the first";

/// What an end means for the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has done what it was to do.
    Gone,
    /// It was killed, and is started again.
    ComesAgain,
    /// It ended with an error, as it may, and is started again once the others have come to rest.
    HasFailed,
}

impl Play<'_> {
    /// Those that have ended since the last look.
    pub(super) fn ended(&mut self) -> Result<Vec<(Role, End)>, String> {
        let roles: Vec<Role> = self.cast.keys().copied().collect();
        let mut ended = Vec::new();
        for role in roles {
            if let Some(end) = self.try_end(role)? {
                ended.push((role, end));
            }
        }
        Ok(ended)
    }

    pub(super) fn try_end(&mut self, role: Role) -> Result<Option<End>, String> {
        let with_everyone = !self.traces.is_empty();
        let Some(actor) = self.cast.get_mut(&role) else { return Ok(None) };
        let end =
            actor.try_end(with_everyone).map_err(|error| format!("stepping {role}: {error}"))?;
        let Some(end) = end else { return Ok(None) };
        let actor = self.cast.remove(&role);
        let is_handler = matches!(actor, Some(Actor::Stepped { target: Target::Handler(_), .. }));
        self.note(&format!("{role} ended with code {:?}: {}", end.code, end.stderr));
        if let Some(steps) = &end.steps {
            self.steps.push(steps.clone());
            steps.look_for_faults(is_handler)?;
        }
        if end.stderr.contains("panicked at") {
            return Err(format!("a panic, told by {role}: {}", end.stderr));
        }
        let second_ledger = self.may_fail && witness::segments(&self.sandbox.dir()) > 1;
        if second_ledger || actor.is_some_and(|actor| actor.made_second_ledger()) {
            return Err(SECOND_LEDGER.to_owned());
        }
        Ok(Some(end))
    }

    /// A process is still to be killed together with all others.
    pub(super) fn kills_everyone(&self) -> bool {
        let stepping = self.cast.values().any(|actor| matches!(actor, Actor::Stepped { .. }));
        stepping && !self.traces.is_empty()
    }

    /// What follows from an end.
    pub(super) fn fate(&mut self, role: Role, end: &End) -> Result<Fate, String> {
        if end.code.is_none() {
            // Killed with everyone, moments before the one that is stepped.
            if self.kills_everyone() {
                return Ok(Fate::Gone);
            }
            if role == Role::Balancer && std::mem::take(&mut self.outliving) {
                return Ok(Fate::ComesAgain);
            }
        }
        match end.struck {
            false => self.judge_end(role, end),
            true if self.is_over() => Ok(Fate::Gone),
            true => Ok(Fate::ComesAgain),
        }
    }

    /// Whether it waits for another session when all are over, and is sent away.
    fn waits_on(&self, role: Role) -> bool {
        matches!(role, Role::Worker(_)) && self.scenario.rotation == Some(Rotation::BySize)
    }

    /// Nobody may fail who was not killed; where a call is made to fail, everyone may once, with an exit
    /// code that says so and a reason. A worker that came when all was over waits for the next session,
    /// and is sent away.
    pub(super) fn judge_end(&self, role: Role, end: &End) -> Result<Fate, String> {
        let has_come_again = self.again.contains(&role);
        // One that came when all was over has seen no session, and was sent away.
        let was_sent_away = role == Role::Balancer && has_come_again && self.drained;
        match end.code {
            Some(code) if code == self.scenario.code(role) => Ok(Fate::Gone),
            Some(0) if was_sent_away => Ok(Fate::Gone),
            Some(143) if has_come_again || self.waits_on(role) => Ok(Fate::Gone),
            Some(1..=3) if self.may_fail && !has_come_again && !end.stderr.trim().is_empty() => {
                Ok(Fate::HasFailed)
            }
            Some(code) if has_come_again => {
                Err(format!("{role}, started again, ended with code {code}: {}", end.stderr))
            }
            Some(code) => Err(format!("{role} ended with code {code}: {}", end.stderr)),
            None => Err(format!("{role} was killed by a signal: {}", end.stderr)),
        }
    }
}
