//! The log, and those before it that were renamed.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::grammar::rotation::Workers;
use common::history::replay::Replay;
use tests::oracle::submissions;

use super::super::role::Role;
use super::super::scenario::Rotation;
use super::Play;
use super::ends::Fate;
use crate::witness;

impl Play<'_> {
    /// All of them together, at one moment.
    pub(super) fn whole_log(&self) -> String {
        let files = || {
            let inode = |log: &PathBuf| std::fs::metadata(log).map_or(0, |log| log.ino());
            let logs = self.sandbox.logs();
            logs.into_iter().map(|log| (inode(&log), log)).collect::<Vec<_>>()
        };
        loop {
            let before = files();
            let read = |(_, log): &(u64, PathBuf)| std::fs::read(log).unwrap_or_default();
            let bytes: Vec<u8> = before.iter().flat_map(read).collect();
            if files() == before {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }

    /// Clients whose submissions are in a log, or will be once the next holder of its lock has been there.
    pub(super) fn accepted(&self) -> usize {
        let mut accepted = self.accepted_submissions();
        let is_whole = |client: &&&str| {
            let left = accepted.checked_sub(client.lines().count());
            accepted = left.unwrap_or(0);
            left.is_some()
        };
        self.scenario.clients.iter().take_while(is_whole).count()
    }

    fn accepted_submissions(&self) -> usize {
        // Before the look at the ledger: what ends in between is in the log already.
        let all = self.whole_log();
        let ended = self.whole_sessions(&all);
        let logged = submissions(&all[ended..]).len();
        let ledger = witness::cursors(&self.sandbox.dir()).filter(|at| !at.is_ended());
        let open = ledger.map_or(0, |at| usize::try_from(at.submissions).unwrap_or(usize::MAX));
        submissions(&all[..ended]).len() + open.max(logged)
    }

    /// The load balancer has renamed all that it is to rename.
    pub(super) fn has_rotated(&self) -> bool {
        let all = self.whole_log();
        let is_whole = self.whole_sessions(&all) == all.len();
        let is_renamed = self.sandbox.log_len() == 0 || self.may_fail;
        let is_all = submissions(&all).len() == self.scenario.submissions().count();
        self.scenario.rotation == Some(Rotation::BySize) && is_renamed && is_all && is_whole
    }

    /// Each log must hold whole sessions.
    pub(super) fn judge_logs(&self) -> Result<(), String> {
        for path in self.sandbox.logs() {
            let log = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            if self.whole_sessions(&log) < log.len() {
                return Err(format!("{} ends inside a session", path.display()));
            }
        }
        let is_renamed = self.sandbox.log_len() == 0;
        let must_be = match self.scenario.rotation {
            None => false,
            // Killed before, the load balancer may find the work done and a log of which it need know no more.
            Some(Rotation::BySize) => self.steps.is_empty(),
            Some(Rotation::ByHand) => true,
        };
        if must_be && !is_renamed {
            return Err("the log was not renamed".to_owned());
        }
        Ok(())
    }

    /// The log rests, and is renamed by whoever asks for that.
    pub(super) fn rotate_in_the_end(&mut self) -> Result<(), String> {
        let role = Role::Rotator;
        while self.scenario.rotation == Some(Rotation::ByHand) && self.sandbox.log_len() > 0 {
            self.start(role)?;
            let mut end = None;
            self.wait_for("the log is renamed", |play| {
                end = play.try_end(role).transpose();
                end.is_some()
            })?;
            let Some(end) = end.transpose()? else { continue };
            if end.struck {
                self.again.push(role);
            } else if self.judge_end(role, &end)? == Fate::HasFailed {
                self.failed.push(role);
                self.again.push(role);
            } else if self.sandbox.log_len() > 0 {
                return Err(format!("{role} ended well, and did nothing: {}", end.stdout));
            }
        }
        Ok(())
    }

    /// How far a log goes in sessions that have ended.
    fn whole_sessions(&self, log: &str) -> usize {
        let mut replay = Replay::new(Workers::new(self.scenario.workers).ok());
        let (mut ended, mut at) = (0, 0);
        for line in log.split_inclusive('\n') {
            let Some(whole) = line.strip_suffix('\n') else { break };
            at += line.len();
            match replay.push(whole.as_bytes()) {
                Ok(Some(_)) => ended = at,
                Ok(None) => {}
                Err(_) => break,
            }
        }
        ended
    }
}
