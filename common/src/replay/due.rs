//! What may come next: the line that is due, client lines aside.

use std::fmt;

use crate::line::{self, Line};
use crate::rotation::WorkerId;

use super::Replay;

impl Replay {
    pub(super) fn may_follow(&self, line: Line<'_>) -> bool {
        if self.text.is_some() {
            return matches!(line, Line::Count { .. });
        }
        match line {
            Line::Client { .. } => self.totals == 0,
            Line::Count { .. } => false,
            _ => self.due().is_some_and(|due| due.candidates().any(|due| due == line)),
        }
    }

    /// The one line that may come next, client lines aside.
    fn due(&self) -> Option<Due<'_>> {
        let executed = self.executed();
        if let Some((text, count)) = self.waiting.first() {
            if self.line < count.into() {
                let index = u32::try_from(self.line + 1).unwrap_or(count);
                return Some(Due::Line(Line::Received { text, index }));
            }
            return Some(match self.workers {
                Some(workers) => Due::Line(Line::Executed { worker: workers.worker_of(executed) }),
                None => Due::Executed {
                    next: u32::try_from(executed + 1).ok().and_then(|k| WorkerId::new(k).ok()),
                    again: WorkerId::new(1).ok().filter(|_| executed > 0),
                },
            });
        }
        if self.submissions == 0 {
            return None;
        }
        let worker = WorkerId::new(self.totals + 1).ok()?;
        let messages = match self.workers {
            Some(workers) if worker.get() > workers.get() => return None,
            Some(workers) => workers.share(worker, executed),
            None => u64::from(u64::from(worker.get()) <= executed),
        };
        Some(Due::Line(Line::Total { worker, messages }))
    }

    /// What may come next, in words.
    #[must_use]
    pub fn expected(&self) -> String {
        if self.text.is_some() {
            return "`Message count: …` of the line before".to_owned();
        }
        match self.due() {
            None => "`Message from client: …`".to_owned(),
            Some(due) if self.totals > 0 => due.to_string(),
            Some(due) => format!("{due} (or a new submission's `Message from client: …`)"),
        }
    }

    /// Whether a line that may come next begins with these bytes, as after a write that was cut short.
    #[must_use]
    pub fn may_begin_with(&self, fragment: &[u8]) -> bool {
        if self.text.is_some() {
            return line::begins_count(fragment);
        }
        self.begun(fragment).next().is_some() || (self.totals == 0 && line::begins_client(fragment))
    }

    /// What is missing of the line that these bytes begin, its `\n` included. Nothing where they can begin another
    /// one, or a submission's. Nothing for half a total either, which shows that the session goes on, if the
    /// whole one would look like its end.
    #[must_use]
    pub fn completion(&self, fragment: &[u8]) -> Option<Vec<u8>> {
        let all_logged = self.waiting.first().is_none();
        let looks_ended = self.workers.is_none() && u64::from(self.totals) + 1 >= self.base;
        if fragment.is_empty() || self.text.is_some() || all_logged && looks_ended {
            return None;
        }
        let mut begun = self.begun(fragment);
        let line = begun.next().filter(|_| begun.next().is_none())?;
        Some([&line.as_bytes()[fragment.len()..], b"\n"].concat())
    }

    /// The lines that are due and begin so.
    fn begun(&self, fragment: &[u8]) -> impl Iterator<Item = String> {
        let lines = self.due().into_iter().flat_map(|due| due.candidates());
        lines.map(|line| line.to_string()).filter(|line| line.as_bytes().starts_with(fragment))
    }
}

/// A line that is due.
enum Due<'a> {
    Line(Line<'a>),
    /// N is not known: the next worker's, or worker 1's again.
    Executed {
        next: Option<WorkerId>,
        again: Option<WorkerId>,
    },
}

impl<'a> Due<'a> {
    fn candidates(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let executed = |worker: &Option<WorkerId>| worker.map(|worker| Line::Executed { worker });
        match self {
            Self::Line(line) => [Some(*line), None],
            Self::Executed { next, again } => [executed(next), executed(again)],
        }
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Due<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.candidates().enumerate() {
            write!(f, "{}`{line}`", if i > 0 { " or " } else { "" })?;
        }
        Ok(())
    }
}
