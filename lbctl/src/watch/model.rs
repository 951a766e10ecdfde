//! What the picture shows: the last look, and what is remembered of those before.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use common::error::Error;

use crate::snapshot::Snapshot;
use crate::terminal::harmless;

/// The rate is taken over so long.
const STEP: Duration = Duration::from_secs(1);
/// So many of these are remembered.
const STEPS_MAX: usize = 512;
/// So much of the log's end is read: some lines, or one of the longest.
const END_LEN: u64 = 16 << 10;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Model {
    /// What the last look showed.
    pub snapshot: Option<Snapshot>,
    /// Why there is nothing to see.
    pub trouble: Option<String>,
    /// Messages per second, the newest last.
    pub rates: VecDeque<u64>,
    /// The log's last lines.
    pub lines: Vec<String>,
    /// The first worker that is shown.
    pub(super) first: usize,
    /// So many are shown.
    pub(super) page: usize,
    /// Since when, in which session, and with how many messages executed, the rate is counted.
    step: Option<(Instant, String, u64)>,
}

impl Model {
    /// Takes over what a look has shown, and the log's end.
    pub fn take(&mut self, look: Result<Snapshot, Error>, log: Option<&File>) {
        match look {
            Ok(snapshot) => {
                self.count(&snapshot);
                self.trouble = None;
                self.snapshot = Some(snapshot);
            }
            // What was seen last stays: most of it is right.
            Err(error) => self.trouble = Some(error.to_string()),
        }
        self.lines = log.and_then(|log| end_of(log).ok()).unwrap_or_default();
    }

    fn count(&mut self, snapshot: &Snapshot) {
        let session = snapshot.session.as_ref();
        let (id, executed) =
            session.map_or((String::new(), 0), |session| (session.id.clone(), session.executed));
        let now = Instant::now();
        match &self.step {
            // A session that has ended meanwhile is not counted to its end.
            Some((since, of, before)) if *of == id => {
                let span = now - *since;
                if span < STEP {
                    return;
                }
                let rate = u128::from(executed.saturating_sub(*before)) * 1000 / span.as_millis();
                self.rates.push_back(rate as u64);
            }
            _ => {}
        }
        if self.rates.len() > STEPS_MAX {
            self.rates.pop_front();
        }
        self.step = Some((now, id, executed));
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
