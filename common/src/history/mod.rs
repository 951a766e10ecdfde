//! Reads `sistem.log` back: does it hold an unfinished session, and how far has that come? The way
//! back when every IPC object is gone, after a reboot for example. Whatever the file holds, this takes time
//! in proportion to its length, and no more memory than a ledger.
//!
//! # What the log alone cannot show
//!
//! * N, before the turn has come round once: any N is then right that is not below a worker in the log.
//! * Whether a session of fewer messages than workers has ended, when the log ends after a whole total:
//!   `Worker 1: 1 messages` is all of a session of one worker, and the first total of one of three. It counts as
//!   ended, since nothing must be added to a session that has. All totals are written at once, so such an end
//!   takes a write that was cut short exactly after a line. (After half a line it is certain: the
//!   session goes on.)
//! * How a submission goes on of which only the first line is there, or less. Nobody was answered that it was accepted,
//!   so it never was.

mod lines;
pub mod replay;

use std::fs::File;

use crate::error::Error;
use crate::grammar::line::{self, Line};
use crate::grammar::rotation::{WORKERS_MAX, Workers};
use crate::history::replay::Replay;
use crate::ledger::ring::RING_LEN;

/// What the log's end shows.
#[derive(Debug)]
pub struct History {
    /// How far the last session is, if it is unfinished; else at the beginning of a new one.
    pub replay: Replay,
    /// Where in the log it begins.
    pub begun: u64,
    /// Bytes of the log up to the last whole unit. What follows is the beginning of a write that
    /// was cut short, and may be cut off.
    pub whole_len: u64,
    /// What is missing of the half line after it, `\n` included, if it is certain which line that begins.
    pub completion: Option<Vec<u8>>,
}

/// Reads a log of `log_len` bytes back.
pub fn read(log: &File, log_len: u64) -> Result<History, Error> {
    let half = lines::half(log, log_len)?;
    let lines_end = log_len - half.len() as u64;
    let mut replay = Replay::new(None);
    let (mut begun, mut whole_len) = (lines_end, lines_end);
    // Totals of the first workers look like those of a session that had no more of them; but half a total
    // after them does not begin another session.
    if !replay.may_begin_with(&half) || !is_finished(log, lines_end)? {
        begun = session_start(log, lines_end)?;
        whole_len = begun;
        lines::forward(log, begun, lines_end, |at, line| {
            replay.push(line).map_err(|fault| unreadable(format!("at byte {at}: {fault}")))?;
            // Before all of them were read: there may be any number.
            if replay.ring_len() > RING_LEN {
                return Err(too_many());
            }
            if !replay.is_inside_submission() {
                whole_len = at + line.len() as u64 + 1;
            }
            Ok(())
        })?;
    }
    if !replay.may_begin_with(&half) {
        let expected = replay.expected();
        return Err(unreadable(format!(
            "the half line at byte {lines_end} is none of this log's; expected {expected}"
        )));
    }
    let completion = replay.completion(&half);
    Ok(History { replay, begun, whole_len, completion })
}

/// It has more unfinished submissions than a ledger holds.
pub(crate) fn too_many() -> Error {
    unreadable("it has more unfinished submissions than a ledger holds".to_owned())
}

fn unreadable(why: String) -> Error {
    Error::LogUnreadable { why }
}

/// Whether the last session before `end` has all its totals. Looks at the end only: the totals 1..m
/// must be a fair share of their sum G among m, and the last m + 1 executions be those of a rotation
/// of m. If the session had more workers than totals, one of these would not be.
fn is_finished(log: &File, end: u64) -> Result<bool, Error> {
    let (mut totals, mut executed, mut messages) = (Vec::new(), Vec::new(), 0u64);
    lines::backward(log, end, |_, line| {
        match Line::parse_bytes(line) {
            Some(Line::Total { worker, messages: share })
                if executed.is_empty() && totals.len() <= WORKERS_MAX as usize =>
            {
                totals.push((worker, share));
                messages = messages.saturating_add(share);
            }
            None | Some(Line::Total { .. }) => return false,
            Some(_) if totals.is_empty() => return false,
            Some(Line::Executed { worker }) => executed.push(worker),
            Some(_) => {}
        }
        executed.is_empty() || (executed.len() as u64) < messages.min(totals.len() as u64 + 1)
    })?;
    let Ok(workers) = Workers::new(totals.len()) else { return Ok(end == 0) };
    let shares = workers.ids().rev().map(|worker| (worker, workers.share(worker, messages)));
    let rotation = (0..messages).rev().map(|message| workers.worker_of(message));
    Ok(messages > 0 && shares.eq(totals) && rotation.take(workers.get() as usize + 1).eq(executed))
}

/// Where the last session before `end` begins: after the last total that other lines follow.
fn session_start(log: &File, end: u64) -> Result<u64, Error> {
    let (mut start, mut inside) = (end, false);
    lines::backward(log, end, |at, line| {
        let total = line::is_total(line);
        if inside && total {
            return false;
        }
        inside |= !total;
        start = at;
        true
    })?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::submission::Submission;
    use crate::ledger::ring;
    use std::io::Write;

    fn log(contents: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(contents.as_bytes()).unwrap();
        file
    }

    fn history(contents: &str) -> Result<History, Error> {
        read(&log(contents), contents.len() as u64)
    }

    fn session(count: u32, n: u32) -> String {
        let workers = Workers::new(n).unwrap();
        let mut log = Vec::new();
        line::append_submission(&mut log, &Submission::new(b"a", count).unwrap());
        line::append_received(&mut log, b"a", 1, count, usize::MAX);
        for message in 0..u64::from(count) {
            line::append(&mut log, Line::Executed { worker: workers.worker_of(message) });
        }
        for worker in workers.ids() {
            let messages = workers.share(worker, count.into());
            line::append(&mut log, Line::Total { worker, messages });
        }
        String::from_utf8(log).unwrap()
    }

    #[test]
    fn finished_logs_begin_a_new_session() {
        for (count, n) in [(10, 3), (1, 1), (1, 3), (3, 3), (4, 3), (7, 1), (300, 256)] {
            let one = session(count, n);
            for contents in [one.clone(), format!("{}{one}", session(5, 2))] {
                let History { replay, whole_len, .. } = history(&contents).unwrap();
                assert!(!replay.is_begun(), "{count} messages, {n} workers");
                assert_eq!(whole_len, contents.len() as u64);
            }
        }
        assert!(!history("").unwrap().replay.is_begun());
    }

    /// Cut at every byte, a log is read back to its last whole unit, and nothing of it is taken for
    /// finished before its last total (but for totals that another N would have had as well).
    #[test]
    fn a_log_cut_at_any_byte_is_read_back() {
        let before = session(5, 2);
        let log = session(10, 3);
        for cut in 0..log.len() {
            let contents = format!("{before}{}", &log[..cut]);
            let History { replay, whole_len, completion, .. } =
                history(&contents).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            let whole = &log[..usize::try_from(whole_len).unwrap() - before.len()];
            let lines = whole.lines().count();
            assert_eq!(replay.is_begun(), lines >= 2, "cut at {cut}");
            let cursors = replay.cursors();
            let total_lines = 2 + 20 + cursors.totals as usize;
            let expected = if cursors.base == 10 { total_lines } else { 2 + cursors.line as usize };
            assert_eq!(lines, if lines < 2 { 0 } else { expected }, "cut at {cut}");
            assert!(contents.len() - usize::try_from(whole_len).unwrap() < 60, "cut at {cut}");
            let half = &log[whole.len()..cut];
            let rest = log[cut..].split_inclusive('\n').next().unwrap().as_bytes();
            if lines < 2 || half.is_empty() {
                assert_eq!(completion, None, "cut at {cut}");
            } else if completion.is_some() || !"Worker".starts_with(half) {
                assert_eq!(completion.as_deref(), Some(rest), "cut at {cut}");
            }
        }
    }

    /// One message among three workers: the first total looks like that of a session of one.
    #[test]
    fn half_a_total_shows_that_the_session_goes_on() {
        let mut log = session(1, 3);
        log.truncate(log.find("Worker 2: ").unwrap());
        assert!(!history(&log).unwrap().replay.is_begun(), "nobody can tell");
        let read = history(&format!("{log}Worker 2")).unwrap();
        assert_eq!((read.replay.cursors().totals, read.whole_len), (1, log.len() as u64));
        assert_eq!(read.completion, None, "nobody could tell any more");
    }

    /// They were all kept in memory before they were refused: so what comes after them was reported first.
    #[test]
    fn more_submissions_than_a_ledger_holds_are_refused_at_once() {
        let mut log = Vec::new();
        let submission = Submission::new(&[b'x'; 1000], 1).unwrap();
        let fits = (RING_LEN - ring::record_len(0, 0)) / (8 + 1000);
        (0..fits).for_each(|_| line::append_submission(&mut log, &submission));
        let full = String::from_utf8(log.clone()).unwrap();
        assert_eq!(history(&full).unwrap().replay.cursors().submissions, fits);
        line::append_submission(&mut log, &submission);
        log.extend_from_slice(b"hello\n");
        let error = history(&String::from_utf8(log).unwrap()).unwrap_err();
        assert!(error.to_string().contains("more unfinished submissions than"), "{error}");
    }

    #[test]
    fn strange_endings_are_refused() {
        // The largest number, too: shares of it were added up beyond it.
        let large = format!("Worker 1: {} messages\nWorker 2: 0 messages\n", u64::MAX);
        let many = "Worker 1: 1 messages\n".repeat(1000);
        let long = "x".repeat(line::LEN_MAX + 1);
        let endings = [&large, &many, &long, "hello", "hello\n", "Worker 1: 4 messages\n"];
        for ending in endings.into_iter().chain(["Message count: 3\n"]) {
            for log in [session(10, 3), session(10, 3)[..100].to_owned()] {
                assert!(history(&format!("{log}{ending}")).is_err(), "{ending}");
            }
        }
    }
}
