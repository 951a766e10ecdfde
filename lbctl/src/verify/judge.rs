//! Judges a log line by line. As long as its lines are in canonical order, [`Replay`] says what may
//! come next. From the first line on that may not, the rest of that session is only counted; the next
//! session is judged by its order again.

use common::grammar::line::{self, Line};
use common::grammar::rotation::{WorkerId, Workers};
use common::history::replay::{Fault as ReplayFault, Replay, Summary};

use super::account::Account;
use super::lines::parse;
use super::verdict::{Fault, Kind, Session, Verdict};

pub(super) struct Judge {
    /// N, when it is prescribed for every session.
    workers: Option<Workers>,
    state: State,
    /// Where the current session began.
    first_line: Option<u64>,
    /// The newest client line's text, as bytes.
    client: Vec<u8>,
    verdict: Verdict,
}

enum State {
    InOrder(Replay),
    Damaged(Box<Account>, Fault),
}

impl Judge {
    pub(super) fn new(workers: Option<Workers>) -> Self {
        Self {
            workers,
            state: State::InOrder(Replay::new(workers)),
            first_line: None,
            client: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// Judges the next line; the last one may have no newline.
    pub(super) fn push(&mut self, line: &[u8], has_newline: bool) {
        self.verdict.lines += 1;
        if !has_newline && !self.is_whole(line) {
            return;
        }
        match &mut self.state {
            State::InOrder(replay) => {
                match replay.push(line) {
                    Ok(None) => {}
                    Ok(Some(summary)) => return self.end_in_order(line, summary),
                    Err(ReplayFault::NotALine) => return self.foreign(line),
                    Err(fault) => return self.leave_order(line, &fault),
                }
                if line::begins_client(line) {
                    self.client.clear();
                    self.client.extend_from_slice(line);
                }
            }
            State::Damaged(account, _) => match parse(line) {
                None => return self.foreign(line),
                Some(Line::Client { .. }) if account.is_over() => {
                    self.end_damaged(self.verdict.lines - 1);
                    self.verdict.lines -= 1;
                    return self.push(line, true);
                }
                Some(line) => account.push(line),
            },
        }
        self.first_line.get_or_insert(self.verdict.lines);
    }

    /// The log ends here.
    pub(super) fn finish(mut self, bytes: u64) -> Verdict {
        if let State::InOrder(replay) = &mut self.state {
            match replay.finish() {
                Ok(Some(summary)) => self.end_session(self.verdict.lines, summary),
                Ok(None) => {}
                Err(fault) => self.end_unfinished(&fault),
            }
        }
        if matches!(self.state, State::Damaged(..)) {
            self.end_damaged(self.verdict.lines);
        }
        self.verdict.bytes = bytes;
        self.verdict.passed = self.verdict.first_wrong.is_none();
        self.verdict
    }

    /// Records a last line without newline, and says whether it can be a line all the same.
    fn is_whole(&mut self, line: &[u8]) -> bool {
        let fault = Fault {
            line: self.verdict.lines,
            kind: Kind::Torn,
            expected: self.expected(),
            found: Some(visible(line)),
        };
        self.wrong(&fault);
        self.verdict.torn = Some(fault);
        // What is cut short may be a line as well: `Message count: 1` of 10.
        parse(line).is_some()
    }

    fn expected(&self) -> String {
        match &self.state {
            State::InOrder(replay) => replay.expected(),
            State::Damaged(..) => "one of the five kinds of line".to_owned(),
        }
    }

    fn wrong(&mut self, fault: &Fault) {
        // Faults are found in the order of their lines.
        self.verdict.first_wrong.get_or_insert_with(|| fault.clone());
    }

    fn foreign(&mut self, line: &[u8]) {
        let fault = Fault {
            line: self.verdict.lines,
            kind: Kind::Foreign,
            expected: self.expected(),
            found: Some(visible(line)),
        };
        self.wrong(&fault);
        self.verdict.foreign.push(fault);
    }

    fn leave_order(&mut self, line: &[u8], fault: &ReplayFault) {
        let fault = Fault {
            line: self.verdict.lines,
            kind: Kind::Unexpected,
            expected: expected_by(fault),
            found: Some(visible(line)),
        };
        self.first_line.get_or_insert(self.verdict.lines);
        self.damage(fault);
        if let (State::Damaged(account, _), Some(line)) = (&mut self.state, parse(line)) {
            account.push(line);
        }
    }

    fn damage(&mut self, fault: Fault) {
        self.wrong(&fault);
        if let State::InOrder(replay) = &self.state {
            let text = match parse(&self.client) {
                Some(Line::Client { text }) if replay.is_inside_submission() => {
                    Some(text.to_owned())
                }
                _ => None,
            };
            let account = Account::resume(replay, text, self.workers);
            self.state = State::Damaged(Box::new(account), fault);
        }
    }

    /// The log ends inside a session: right so far.
    fn end_unfinished(&mut self, fault: &ReplayFault) {
        let State::InOrder(replay) = &self.state else { return };
        self.verdict.unfinished = Some(expected_by(fault));
        let at = replay.cursors();
        let shares = WorkerId::all().map(|worker| replay.executed_by(worker));
        let mut shares: Vec<u64> = shares.collect();
        let last = shares.iter().rposition(|&share| share > 0).map_or(0, |last| last + 1);
        shares.truncate(last.max(at.workers().map_or(0, Workers::get) as usize));
        let summary = Summary { submissions: at.submissions, messages: at.messages, shares };
        self.end_session(self.verdict.lines, summary);
    }

    /// The session before this line, or with it, has ended in order.
    fn end_in_order(&mut self, line: &[u8], summary: Summary) {
        if line::begins_client(line) {
            self.end_session(self.verdict.lines - 1, summary);
            self.first_line = Some(self.verdict.lines);
            self.client = line.to_vec();
        } else {
            self.end_session(self.verdict.lines, summary);
        }
    }

    fn end_session(&mut self, last_line: u64, summary: Summary) {
        let session = Session {
            number: 0,
            first_line: 0,
            last_line,
            submissions: summary.submissions,
            messages: summary.messages,
            shares: summary.shares,
            fault: None,
            tally: None,
        };
        self.record(session);
    }

    fn end_damaged(&mut self, last_line: u64) {
        let fresh = State::InOrder(Replay::new(self.workers));
        if let State::Damaged(account, fault) = std::mem::replace(&mut self.state, fresh) {
            let tally = account.finish();
            self.verdict.damaged_sessions += 1;
            self.record(Session {
                number: 0,
                first_line: 0,
                last_line,
                submissions: tally.submissions,
                messages: tally.messages,
                shares: tally.workers.iter().map(|worker| worker.executed).collect(),
                fault: Some(fault),
                tally: Some(tally),
            });
        }
    }

    fn record(&mut self, session: Session) {
        let verdict = &mut self.verdict;
        verdict.submissions += session.submissions;
        verdict.messages += session.messages;
        verdict.sessions.push(Session {
            number: verdict.sessions.count + 1,
            first_line: self.first_line.take().unwrap_or(session.last_line),
            ..session
        });
    }
}

fn expected_by(fault: &ReplayFault) -> String {
    match fault {
        ReplayFault::Unexpected(expected) | ReplayFault::Unfinished(expected) => expected.clone(),
        ReplayFault::NotALine => fault.to_string(),
    }
}

/// A line as it can be shown: whatever bytes are in it, none of them reaches a terminal as a command.
fn visible(line: &[u8]) -> String {
    let mut visible = String::new();
    for c in String::from_utf8_lossy(line).chars() {
        // The characters that a text must not hold are also those that must not be shown.
        let mut buffer = [0; 4];
        if common::grammar::submission::Submission::new(c.encode_utf8(&mut buffer).as_bytes(), 1)
            .is_ok()
        {
            visible.push(c);
        } else {
            visible.extend(c.escape_unicode());
        }
    }
    visible
}
