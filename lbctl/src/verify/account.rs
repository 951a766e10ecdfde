//! What a session holds, regardless of the order of its lines. Once the order is broken it shows
//! whether messages were lost, doubled, or only misplaced.

use std::collections::HashMap;

use common::grammar::line::Line;
use common::grammar::rotation::{WORKERS_MAX, WorkerId, Workers};
use common::history::replay::Replay;

use super::balance::Balance;
use super::verdict::{Listed, Span, Tally, WorkerTally};

/// Counts the lines of one session. Texts whose messages have all come once are forgotten, so memory
/// grows with the unfinished submissions and with the damage only.
#[derive(Debug)]
pub struct Account {
    /// N, where it is prescribed.
    workers: Option<Workers>,
    /// N is at least so many.
    workers_min: u32,
    /// The worker of the newest line, and whether each one's are together so far.
    newest: Option<WorkerId>,
    grouped: bool,
    submissions: u64,
    messages: u64,
    /// A client line whose count is the next line, or was the line before.
    text: Option<String>,
    count: Option<u32>,
    half_submissions: u64,
    received: HashMap<String, Balance>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    executed: u64,
    total: Option<u64>,
    totals: u64,
}

impl Account {
    /// Of a session from its beginning; N is prescribed, or the highest number of a worker in it.
    #[must_use]
    pub fn new(workers: Option<Workers>) -> Self {
        Self {
            workers,
            workers_min: 0,
            newest: None,
            grouped: true,
            submissions: 0,
            messages: 0,
            text: None,
            count: None,
            half_submissions: 0,
            received: HashMap::new(),
            cells: vec![Cell::default(); WORKERS_MAX as usize],
        }
    }

    /// Of a session whose lines were in order so far; `text` is that of a submission whose count
    /// line was due. What its order has shown of N is no more than a guess then.
    pub(super) fn resume(replay: &Replay, text: Option<String>, workers: Option<Workers>) -> Self {
        let at = replay.cursors();
        let mut account = Self::new(workers);
        account.workers_min = at.workers().map_or(0, Workers::get);
        account.submissions = at.submissions;
        account.messages = at.messages;
        account.text = text;
        for submission in replay.waiting() {
            account.change(submission.text(), |balance| balance.expect(submission.count()));
        }
        if let Some(first) = replay.waiting().next() {
            // The submission's own count is a u32, so what is not above it is one, too.
            let received = u32::try_from(replay.received() - at.base).unwrap_or(first.count());
            if received > 0 {
                account.receive(first.text(), 1, received);
            }
        }
        for (worker, cell) in WorkerId::all().zip(&mut account.cells) {
            cell.executed = replay.executed_by(worker);
            if cell.executed > 0 {
                // In rotation, a second one's lines are between those of the first.
                account.grouped &= account.newest.is_none();
                account.newest = Some(worker);
            }
            if u64::from(worker.get()) <= at.totals {
                *cell = Cell { total: Some(cell.executed), totals: 1, ..*cell };
            }
        }
        account
    }

    /// Counts the next line.
    pub fn push(&mut self, line: Line<'_>) {
        match line {
            Line::Count { count } => match self.text.take() {
                Some(text) => {
                    self.half_submissions += u64::from(self.count.take().is_some());
                    self.submit(&text, count);
                }
                None => self.half_submissions += u64::from(self.count.replace(count).is_some()),
            },
            Line::Client { text } => {
                if self.text.is_some() {
                    self.settle();
                }
                self.text = Some(text.to_owned());
            }
            Line::Received { text, index } => {
                self.settle();
                self.receive(text, index, index);
            }
            Line::Executed { worker } => {
                self.settle();
                let cell = &mut self.cells[worker.index()];
                self.grouped &= self.newest == Some(worker) || cell.executed == 0;
                self.newest = Some(worker);
                cell.executed += 1;
            }
            Line::Total { worker, messages } => {
                self.settle();
                let cell = &mut self.cells[worker.index()];
                cell.total.get_or_insert(messages);
                cell.totals += 1;
            }
        }
    }

    /// The lines of a submission are together, if in the wrong order; else they are halves.
    fn settle(&mut self) {
        match (self.text.take(), self.count.take()) {
            (Some(text), Some(count)) => self.submit(&text, count),
            (None, None) => {}
            _ => self.half_submissions += 1,
        }
    }

    fn submit(&mut self, text: &str, count: u32) {
        self.submissions += 1;
        self.messages += u64::from(count);
        self.change(text, |balance| balance.expect(count));
    }

    fn receive(&mut self, text: &str, first: u32, last: u32) {
        self.change(text, |balance| balance.receive(first, last));
    }

    fn change(&mut self, text: &str, change: impl FnOnce(&mut Balance)) {
        match self.received.get_mut(text) {
            Some(balance) => {
                change(balance);
                if balance.is_even() {
                    self.received.remove(text);
                }
            }
            None => change(self.received.entry(text.to_owned()).or_default()),
        }
    }

    /// Whether a client line that comes now is the first one of another session: there are totals,
    /// or nothing of a session at all.
    pub(super) fn is_over(&self) -> bool {
        let empty = self.submissions == 0 && self.text.is_none() && self.count.is_none();
        empty || self.cells.iter().any(|cell| cell.totals > 0)
    }

    /// The session ends here.
    #[must_use]
    pub fn finish(mut self) -> Tally {
        self.settle();
        let (received, received_missing, received_surplus) = self.received();
        Tally {
            submissions: self.submissions,
            messages: self.messages,
            half_submissions: self.half_submissions,
            received_missing,
            received_surplus,
            received,
            grouped_by_worker: self.is_grouped(),
            workers: self.workers(),
        }
    }

    /// Each of several workers has its lines together, though some have more than one.
    fn is_grouped(&self) -> bool {
        let executed = || self.cells.iter().map(|cell| cell.executed);
        self.grouped && executed().filter(|&n| n > 0).count() > 1 && executed().any(|n| n > 1)
    }

    fn received(&self) -> (Listed<Span>, u64, u64) {
        let mut texts: Vec<_> = self.received.iter().collect();
        texts.sort_unstable_by_key(|(text, _)| *text);
        let (mut listed, mut missing_sum, mut surplus_sum) = (Listed::default(), 0, 0);
        for (text, balance) in texts {
            for imbalance in balance.imbalances() {
                let (first, last) = (imbalance.first, imbalance.last);
                let times = imbalance.times.unsigned_abs();
                let (missing, surplus) = if imbalance.times > 0 { (times, 0) } else { (0, times) };
                let indices = u64::from(last - first + 1);
                missing_sum += missing * indices;
                surplus_sum += surplus * indices;
                listed.push(Span { text: text.clone(), first, last, missing, surplus });
            }
        }
        (listed, missing_sum, surplus_sum)
    }

    fn workers(&self) -> Vec<WorkerTally> {
        let seen = self.cells.iter().rposition(|cell| cell.executed > 0 || cell.totals > 0);
        let highest = seen.and_then(|i| u32::try_from(i + 1).ok()).unwrap_or(0);
        let workers = self.workers.or_else(|| Workers::new(highest.max(self.workers_min)).ok());
        let share = |k| match (workers, WorkerId::new(k)) {
            (Some(n), Ok(worker)) if k <= n.get() => n.share(worker, self.messages),
            _ => 0,
        };
        let tally = |(worker, cell): (u32, &Cell)| WorkerTally {
            worker,
            expected: share(worker),
            executed: cell.executed,
            total: cell.total,
            totals: cell.totals,
        };
        let n = workers.map_or(0, Workers::get);
        (1..=n.max(highest)).zip(&self.cells).map(tally).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(log: &str) -> Tally {
        let mut account = Account::new(None);
        log.lines().for_each(|line| account.push(Line::parse(line).unwrap()));
        account.finish()
    }

    const LOG: &str = "Message from client: a\nMessage count: 3\n\
        Received at lb: a (#message 1)\nReceived at lb: a (#message 2)\nReceived at lb: a (#message 3)\n\
        Worker1: message received\nWorker2: message received\nWorker1: message received\n\
        Worker 1: 2 messages\nWorker 2: 1 messages\n";

    #[test]
    fn any_order_is_right() {
        let mut lines: Vec<&str> = LOG.lines().collect();
        assert!(tally(LOG).is_right());
        lines[2..].reverse();
        lines.swap(0, 1);
        assert!(tally(&lines.join("\n")).is_right(), "{lines:?}");
    }

    #[test]
    fn a_lost_and_a_doubled_message_do_not_even_out() {
        let damaged = tally(&LOG.replace("#message 2", "#message 3"));
        assert_eq!((damaged.received_missing, damaged.received_surplus), (1, 1));
        let damaged = tally(&LOG.replace("Worker2: message", "Worker1: message"));
        let right: Vec<bool> = damaged.workers.iter().map(WorkerTally::is_right).collect();
        assert_eq!(right, [false, false]);
    }

    #[test]
    fn halves_of_a_submission_are_counted() {
        assert_eq!(tally(&LOG.replace("Message count: 3\n", "")).half_submissions, 1);
        assert_eq!(tally(&LOG.replace("Message from client: a\n", "")).half_submissions, 1);
        // One left out must not pair the others wrongly.
        let two = LOG.replace("Message count: 3\n", "Message count: 3\nMessage count: 2\n");
        let two = two.replace("Worker1", "Message from client: b\nMessage count: 9\nWorker1");
        assert_eq!(tally(&two).half_submissions, 1);
    }
}
