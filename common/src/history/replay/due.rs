//! What may come next: the line that is due, client lines aside.

use crate::grammar::line::{self, Line};
use crate::grammar::rotation::WorkerId;

use super::Replay;

impl Replay {
    pub(super) fn may_follow(&self, line: Line<'_>) -> bool {
        match line {
            Line::Count { .. } => self.text.is_some(),
            _ if self.text.is_some() => false,
            Line::Client { .. } => self.at.totals == 0,
            _ => self.due().contains(&Some(line)),
        }
    }

    /// The line that may come next, client lines aside: one of two where N is not known, the next worker's or
    /// worker 1's again.
    fn due(&self) -> [Option<Line<'_>>; 2] {
        if let Some((text, count)) = self.waiting.first() {
            if self.at.line < count.into() {
                return [Some(Line::Received { text, index: self.at.line as u32 + 1 }), None];
            }
            let [next, first] =
                [self.executed(), 0].map(|message| self.workers().worker_of(message));
            let again = (self.at.workers == 0 && next != first).then_some(first);
            return [Some(next), again].map(|worker| Some(Line::Executed { worker: worker? }));
        }
        let worker = WorkerId::new(self.at.totals + 1).ok().filter(|_| self.is_begun());
        [worker.map(|worker| Line::Total { worker, messages: self.executed_by(worker) }), None]
    }

    /// What may come next, in words.
    #[must_use]
    pub fn expected(&self) -> String {
        if self.text.is_some() {
            return "`Message count: …` of the line before".to_owned();
        }
        let due: Vec<_> =
            self.due().into_iter().flatten().map(|line| format!("`{line}`")).collect();
        match due.join(" or ") {
            due if due.is_empty() => "`Message from client: …`".to_owned(),
            due if self.at.totals > 0 => due,
            due => format!("{due} (or a new submission's `Message from client: …`)"),
        }
    }

    /// Whether a line that may come next begins with these bytes, as after a write that was cut short.
    #[must_use]
    pub fn may_begin_with(&self, fragment: &[u8]) -> bool {
        if self.text.is_some() {
            return line::begins_count(fragment);
        }
        !self.begun(fragment).is_empty() || (self.at.totals == 0 && line::begins_client(fragment))
    }

    /// What is missing of the line that these bytes begin, its `\n` included. Nothing where they can begin another
    /// one, or a submission's. Nothing for half a total either, which shows that the session goes on, if the
    /// whole one would look like its end.
    #[must_use]
    pub fn completion(&self, fragment: &[u8]) -> Option<Vec<u8>> {
        let looks_ended = self.at.workers == 0 && self.at.totals + 1 >= self.at.base;
        if fragment.is_empty()
            || self.text.is_some()
            || self.waiting.first().is_none() && looks_ended
        {
            return None;
        }
        let [line] = &self.begun(fragment)[..] else { return None };
        Some([&line.as_bytes()[fragment.len()..], b"\n"].concat())
    }

    /// The lines that are due and begin so.
    fn begun(&self, fragment: &[u8]) -> Vec<String> {
        let lines = self.due().into_iter().flatten().map(|line| line.to_string());
        lines.filter(|line| line.as_bytes().starts_with(fragment)).collect()
    }
}
