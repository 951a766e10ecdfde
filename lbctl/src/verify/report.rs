//! The verdict for people.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use super::verdict::{Fault, Session, Span, Tally, Verdict, WorkerTally};
use crate::terminal::{DIM, Shares, counted, grouped, mark, shortened};

/// Of good sessions, so many are described, and of each kind of damage.
const SHOWN_MAX: usize = 10;

pub(super) fn report(log: &str, verdict: &Verdict, seconds: f64) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {}, {} bytes, read in {seconds:.2} s",
        log,
        counted(verdict.lines, "line"),
        grouped(verdict.bytes)
    );
    if verdict.lines == 0 {
        out.push_str("  the log is empty: it holds no session\n");
    }
    if let Some(fault) = &verdict.first_wrong {
        let _ = writeln!(out, "{} first wrong line: {}", mark(false), describe(fault));
    }
    if verdict.foreign.count > 0 {
        let _ = writeln!(
            out,
            "{} none of the five kinds of line: {}",
            mark(false),
            counted(verdict.foreign.count, "line")
        );
        for fault in verdict.foreign.first.iter().take(SHOWN_MAX) {
            let found = shortened(fault.found.as_deref().unwrap_or_default());
            let _ = writeln!(out, "    line {}: `{found}`", fault.line);
        }
        more(&mut out, verdict.foreign.count);
    }
    if let Some(fault) = &verdict.torn {
        let _ = writeln!(out, "{} line {}: no newline at the log's end", mark(false), fault.line);
    }
    for session in shown(verdict) {
        describe_session(&mut out, session, verdict.first_wrong.as_ref());
    }
    let unshown = verdict.sessions.count - shown(verdict).count() as u64;
    if unshown > 0 {
        let _ = writeln!(out, "{DIM}… and {}{DIM:#}", counted(unshown, "session"));
    }
    if verdict.passed
        && let Some(expected) = &verdict.unfinished
    {
        let _ = writeln!(
            out,
            "{} right so far, unfinished: next should come {}",
            mark(true),
            shortened(expected)
        );
    } else if verdict.passed && verdict.lines > 0 {
        let _ = writeln!(
            out,
            "{} {} in {}: every message exactly once, in order, and the totals are right",
            mark(true),
            counted(verdict.messages, "message"),
            counted(verdict.sessions.count, "session")
        );
    }
    out
}

/// Where something is wrong, only sessions in which something is wrong.
fn shown(verdict: &Verdict) -> impl Iterator<Item = &Session> {
    let damaged_only = verdict.damaged_sessions > 0;
    let sessions = verdict.sessions.first.iter();
    sessions.filter(move |session| !damaged_only || session.fault.is_some()).take(SHOWN_MAX)
}

fn describe(fault: &Fault) -> String {
    let expected = shortened(&fault.expected);
    let found = fault.found.as_deref().map(shortened);
    Fault { expected, found, ..*fault }.to_string()
}

fn more(out: &mut String, count: u64) {
    let unshown = count.saturating_sub(SHOWN_MAX as u64);
    if unshown > 0 {
        let _ = writeln!(out, "    … and {} more", grouped(unshown));
    }
}

/// The first wrong line has been shown already.
fn describe_session(out: &mut String, session: &Session, reported: Option<&Fault>) {
    let workers = session.shares.len() as u64;
    let _ = writeln!(
        out,
        "{} session {} (lines {} to {}): {}, {}, {}",
        mark(session.fault.is_none()),
        session.number,
        session.first_line,
        session.last_line,
        counted(session.submissions, "submission"),
        counted(session.messages, "message"),
        counted(workers, "worker")
    );
    let _ = write!(out, "{}", Shares(&session.shares));
    if let (Some(fault), Some(tally)) = (&session.fault, &session.tally) {
        if Some(fault) != reported {
            let _ = writeln!(out, "    out of order from here: {}", describe(fault));
        }
        describe_tally(out, tally);
    }
}

fn describe_tally(out: &mut String, tally: &Tally) {
    if tally.is_right() && tally.submissions > 0 {
        out.push_str("    every message is there exactly once and the totals are right: only the order is wrong\n");
        if tally.grouped_by_worker {
            out.push_str("    the lines are grouped by worker: each wrote its own together, as through a buffer\n");
        }
        return;
    }
    if tally.submissions == 0 {
        out.push_str("    these lines belong to no submission\n");
    }
    if tally.half_submissions > 0 {
        let _ = writeln!(
            out,
            "    {} with only one of its two lines",
            counted(tally.half_submissions, "submission")
        );
    }
    for span in tally.received.first.iter().take(SHOWN_MAX) {
        let _ = writeln!(out, "    {span}");
    }
    more(out, tally.received.count);
    for worker in tally.workers.iter().filter(|worker| !worker.is_right()).take(SHOWN_MAX) {
        let _ = writeln!(out, "    {worker}");
    }
    more(out, tally.workers.iter().filter(|worker| !worker.is_right()).count() as u64);
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, first, last, missing, surplus } = self;
        write!(f, "received, `{}` #message {first}", shortened(text))?;
        let each = if first == last { "" } else { " each" };
        if first != last {
            write!(f, " to {last}")?;
        }
        if *missing > 0 {
            write!(f, ": {} missing{each}", counted(*missing, "line"))
        } else {
            write!(f, ": {} too many{each}", counted(*surplus, "line"))
        }
    }
}

impl fmt::Display for WorkerTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, expected, executed, total, totals } = self;
        write!(f, "worker {worker}: executed {}", grouped(*executed))?;
        match executed.cmp(expected) {
            Ordering::Less => write!(f, " ({} missing)", grouped(expected - executed))?,
            Ordering::Equal => {}
            Ordering::Greater => write!(f, " ({} too many)", grouped(executed - expected))?,
        }
        write!(f, ", its share is {}, ", grouped(*expected))?;
        match (total, totals) {
            (None, _) => f.write_str("its total is missing"),
            (Some(total), 1) => write!(f, "its total says {}", grouped(*total)),
            (Some(total), totals) => {
                write!(f, "its total stands {totals} times and says {}", grouped(*total))
            }
        }
    }
}
