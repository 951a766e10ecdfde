//! What the picture shows: the last look, and what is remembered of those before.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use common::error::Error;

use crate::snapshot::{Session, Snapshot};
use crate::terminal::harmless;

/// The rate is taken over so long.
const STEP: Duration = Duration::from_secs(1);
/// So many of these are remembered.
const STEPS_MAX: usize = 512;
/// So much of the log's end is read: some lines, or a few of the longest.
const END_LEN: u64 = 16 << 10;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What the last look showed that succeeded.
    pub(super) snapshot: Option<Snapshot>,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
    /// Messages executed per second, the newest last.
    pub(super) rates: VecDeque<u64>,
    /// The log's last lines.
    pub(super) lines: Vec<String>,
    /// The first worker that is shown.
    pub(super) first: usize,
    /// So many are shown.
    pub(super) page: usize,
    /// Since when messages are counted for the next rate, and how many there were.
    step: Option<(Instant, u64)>,
}

impl Model {
    /// Takes over what a look has shown, and the log's end.
    pub(super) fn take(&mut self, look: Result<Snapshot, Error>, log: Option<&File>) {
        match look {
            Ok(snapshot) => {
                self.count(&snapshot, Instant::now());
                self.trouble = None;
                self.snapshot = Some(snapshot);
            }
            // What was seen last stays: most of it is right.
            Err(error) => self.trouble = Some(error.to_string()),
        }
        self.lines = log.and_then(|log| end_of(log).ok()).unwrap_or_default();
    }

    fn count(&mut self, snapshot: &Snapshot, now: Instant) {
        let (Some((since, executed)), Some(before)) = (&mut self.step, &self.snapshot) else {
            self.step = Some((now, 0));
            return;
        };
        let more = executed_between(before.session.as_ref(), snapshot.session.as_ref());
        *executed = executed.saturating_add(more);
        let span = now - *since;
        if span >= STEP {
            let rate = u128::from(*executed) * 1000 / span.as_millis();
            self.rates.push_back(rate as u64);
            self.step = Some((now, 0));
        }
        if self.rates.len() > STEPS_MAX {
            self.rates.pop_front();
        }
    }

    pub(super) fn scroll(&mut self, by: isize) {
        let workers = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.workers.len());
        let last = workers.saturating_sub(self.page);
        self.first = self.first.saturating_add_signed(by).min(last);
    }

    pub(super) fn scroll_pages(&mut self, by: isize) {
        self.scroll(by * isize::try_from(self.page).unwrap_or(isize::MAX).max(1));
    }
}

/// Messages that were executed between two looks. A session that is not there any more has executed all that was
/// accepted, and another one began after the first look: what both did unseen is missing, so it may have been more.
fn executed_between(before: Option<&Session>, after: Option<&Session>) -> u64 {
    match (before, after) {
        (Some(before), Some(after)) if before.id == after.id => {
            after.executed.saturating_sub(before.executed)
        }
        _ => {
            let rest = before.map_or(0, |before| before.backlog);
            rest.saturating_add(after.map_or(0, |after| after.executed))
        }
    }
}

/// The last lines of a log.
fn end_of(log: &File) -> std::io::Result<Vec<String>> {
    let len = log.metadata()?.len();
    let from = len.saturating_sub(END_LEN);
    let mut bytes = vec![0; (len - from) as usize];
    let read = log.read_at(&mut bytes, from)?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    // The first one is cut.
    let whole = if from > 0 { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok(whole.lines().map(harmless).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Balancer, Process, SessionState, State};
    use std::time::UNIX_EPOCH;

    fn seen(session: Option<(&str, u64, u64)>) -> Snapshot {
        let session = session.map(|(id, accepted, executed)| Session {
            id: id.to_owned(),
            state: SessionState::Open,
            since: UNIX_EPOCH,
            seconds: 0.0,
            workers: Some(3),
            submissions: 1,
            accepted,
            received: accepted,
            executed,
            logged: 0,
            dead: 0,
            backlog: accepted - executed,
            ring_bytes: 0,
            ring_bytes_max: 1,
        });
        Snapshot {
            version: 1,
            directory: ".".into(),
            state: State::Running,
            log_bytes: None,
            balancer: Balancer { workers: None, process: Process::NotRunning },
            client_is_open: false,
            session,
            workers: Vec::new(),
        }
    }

    /// They left gaps, and a session shorter than a second did not show at all.
    #[test]
    fn the_rate_goes_on_over_the_end_of_a_session_and_the_beginning_of_the_next() {
        let mut model = Model::default();
        let mut now = Instant::now();
        let looks = [
            (Some(("a", 100, 40)), None), // what was executed before the first look is not of this second
            (Some(("a", 100, 90)), Some(50)),
            (None, Some(10)),
            (None, Some(0)),
            (Some(("b", 30, 20)), Some(20)),
            (Some(("c", 30, 5)), Some(15)),
            (Some(("c", 30, 0)), Some(0)), // read back from a log that did not have all lines yet
        ];
        for (session, rate) in looks {
            let snapshot = seen(session);
            let before = model.rates.len();
            model.count(&snapshot, now);
            model.snapshot = Some(snapshot);
            assert_eq!(model.rates.get(before).copied(), rate, "{session:?}");
            now += STEP;
        }
    }

    #[test]
    fn the_last_lines_of_a_long_log_are_whole_and_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "x".repeat(4000);
        let end = ["\x1b[2J\u{202e}\n".as_bytes(), b"\xff half"].concat();
        std::fs::write(&path, [format!("{long}\n").repeat(9).into_bytes(), end].concat()).unwrap();
        let lines = end_of(&File::open(&path).unwrap()).unwrap();
        assert!(lines[..lines.len() - 2].iter().all(|line| *line == long), "{lines:?}");
        assert_eq!(lines[lines.len() - 2..], ["\\u{1b}[2J\\u{202e}", "\u{fffd} half"]);
    }
}
