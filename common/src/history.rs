//! Reads `sistem.log` back: does it hold an unfinished session, and how far has that come? The way
//! back when every IPC object is gone, after a reboot for example.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::error::Error;
use crate::fence::signals;
use crate::line::{self, Line};
use crate::replay::Replay;
use crate::rotation::Workers;
use crate::submission::TEXT_LEN_MAX;

/// What the log's end tells.
#[derive(Debug)]
pub struct History {
    /// Where the last session stands, if it is unfinished; else at the beginning of a new one.
    pub replay: Replay,
    /// Bytes of the log up to the last whole unit. What follows is the beginning of a write that
    /// was cut short, and may be cut off.
    pub whole_len: u64,
}

/// Reads a log of `log_len` bytes back.
pub fn read(log: &File, log_len: u64) -> Result<History, Error> {
    let lines_end = last_line_end(log, log_len).map_err(Error::Log)?;
    let fragment_len = log_len - lines_end;
    let mut fragment = vec![0; fragment_len.min(2 * TEXT_LEN_MAX as u64) as usize];
    log.read_exact_at(&mut fragment, lines_end).map_err(Error::Log)?;
    let mut replay = Replay::new(None);
    let mut whole_len = lines_end;
    // Totals of the first workers look like those of a session that had no more of them; but half a total
    // behind them does not begin another session.
    if !replay.may_begin_with(&fragment) || !is_finished(log, lines_end).map_err(Error::Log)? {
        let start = session_start(log, lines_end)?;
        whole_len = replay_from(log, start, lines_end, &mut replay)?;
    }
    if fragment.len() as u64 != fragment_len || !replay.may_begin_with(&fragment) {
        let why = format!(
            "the half line at byte {lines_end} is none of this log's; expected {}",
            replay.expected()
        );
        return Err(Error::LogUnreadable { why });
    }
    if replay.is_inside_submission() {
        replay.forget_half_submission();
    }
    Ok(History { replay, whole_len })
}

/// Replays the lines from `start` to `end`. Returns where the last whole unit ends.
fn replay_from(log: &File, start: u64, end: u64, replay: &mut Replay) -> Result<u64, Error> {
    let mut reader = BufReader::with_capacity(1 << 20, log);
    reader.seek(SeekFrom::Start(start)).map_err(Error::Log)?;
    let mut line = Vec::new();
    let mut at = start;
    let mut whole_len = start;
    while at < end {
        line.clear();
        heed_signals()?;
        let len = reader.read_until(b'\n', &mut line).map_err(Error::Log)? as u64;
        replay
            .push(line.strip_suffix(b"\n").unwrap_or(&line))
            .map_err(|fault| Error::LogUnreadable { why: format!("at byte {at}: {fault}") })?;
        at += len;
        if !replay.is_inside_submission() {
            whole_len = at;
        }
        if len == 0 {
            return Err(Error::Log(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(whole_len)
}

/// Whether the last session before `end` has all its totals. Looks at the end only: the totals 1..m
/// must be a fair share of their sum G among m, and the last m + 1 executions be those of a rotation
/// of m. If the session had more workers than totals, one of these would not be.
fn is_finished(log: &File, end: u64) -> io::Result<bool> {
    let mut lines = LinesBackward::new(log, end);
    let mut totals = Vec::new();
    let mut next = lines.previous()?;
    while let Some((_, Ok(Line::Total { worker, messages }))) = parsed(next.as_ref()) {
        totals.push((worker, messages));
        next = lines.previous()?;
    }
    if totals.is_empty() {
        return Ok(next.is_none());
    }
    totals.reverse();
    let messages = totals.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    let Ok(workers) = Workers::new(u32::try_from(totals.len()).unwrap_or(u32::MAX)) else {
        return Ok(false);
    };
    if !workers.ids().map(|k| (k, workers.share(k, messages))).eq(totals) {
        return Ok(false);
    }
    let mut message = messages;
    let oldest = messages.saturating_sub(u64::from(workers.get()) + 1);
    while message > oldest {
        match parsed(next.as_ref()) {
            Some((_, Ok(Line::Executed { worker }))) => {
                message -= 1;
                if worker != workers.worker_of(message) {
                    return Ok(false);
                }
            }
            Some((_, Ok(Line::Received { .. } | Line::Client { .. } | Line::Count { .. }))) => {}
            _ => return Ok(false),
        }
        next = lines.previous()?;
    }
    Ok(messages > 0)
}

fn parsed(line: Option<&(u64, Vec<u8>)>) -> Option<(u64, Result<Line<'_>, ()>)> {
    line.map(|(at, bytes)| {
        (*at, std::str::from_utf8(bytes).map_err(drop).and_then(|l| Line::parse(l).map_err(drop)))
    })
}

/// Where the last session before `end` begins: behind the last total that other lines follow.
fn session_start(log: &File, end: u64) -> Result<u64, Error> {
    let mut lines = LinesBackward::new(log, end);
    let mut start = end;
    let mut inside = false;
    while let Some((at, line)) = lines.previous().map_err(Error::Log)? {
        heed_signals()?;
        let total = line::is_total(&line);
        if inside && total {
            return Ok(start);
        }
        inside |= !total;
        start = at;
    }
    Ok(0)
}

/// A long log takes a while, and nobody wants to wait for the end of that.
fn heed_signals() -> Result<(), Error> {
    signals::aborted_by().map_or(Ok(()), |signal| Err(Error::Aborted(signal)))
}

/// Where the last line that ends with `\n` ends.
fn last_line_end(log: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut chunk = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        log.read_exact_at(part, start)?;
        if let Some(i) = memchr::memrchr(b'\n', part) {
            return Ok(start + i as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// A file's lines, the last one first.
struct LinesBackward<'a> {
    file: &'a File,
    /// Bytes from `start` on, whose lines are not given out yet.
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> LinesBackward<'a> {
    const CHUNK: u64 = 256 << 10;

    fn new(file: &'a File, end: u64) -> Self {
        Self { file, buffer: Vec::new(), start: end }
    }

    /// The line before, without its `\n`, and where it begins.
    fn previous(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            if let Some(body) = self.buffer.strip_suffix(b"\n") {
                let line_start = memchr::memrchr(b'\n', body).map(|i| i + 1);
                if let Some(at) = line_start.or((self.start == 0).then_some(0)) {
                    let line = body[at..].to_vec();
                    self.buffer.truncate(at);
                    return Ok(Some((self.start + at as u64, line)));
                }
            } else if self.start == 0 {
                return Ok(None);
            }
            let start = self.start.saturating_sub(Self::CHUNK);
            let mut chunk = vec![0; (self.start - start) as usize];
            self.file.read_exact_at(&mut chunk, start)?;
            chunk.append(&mut self.buffer);
            self.buffer = chunk;
            self.start = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::Submission;
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
        line::append_received(&mut log, "a", 1, count, usize::MAX);
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
                let History { replay, whole_len } = history(&contents).unwrap();
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
            let History { replay, whole_len } =
                history(&contents).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            let whole = &log[..usize::try_from(whole_len).unwrap() - before.len()];
            let lines = whole.lines().count();
            assert_eq!(replay.is_begun(), lines >= 2, "cut at {cut}");
            let progress = replay.progress();
            let total_lines = 2 + 20 + progress.totals as usize;
            let expected =
                if progress.base == 10 { total_lines } else { 2 + progress.line as usize };
            assert_eq!(lines, if lines < 2 { 0 } else { expected }, "cut at {cut}");
            assert!(contents.len() - usize::try_from(whole_len).unwrap() < 60, "cut at {cut}");
        }
    }

    /// One message among three workers: the first total looks like that of a session of one.
    #[test]
    fn half_a_total_shows_that_the_session_goes_on() {
        let mut log = session(1, 3);
        log.truncate(log.find("Worker 2: ").unwrap());
        assert!(!history(&log).unwrap().replay.is_begun(), "nobody can tell");
        let History { replay, whole_len } = history(&format!("{log}Worker 2")).unwrap();
        assert_eq!((replay.progress().totals, whole_len), (1, log.len() as u64));
    }

    #[test]
    fn strange_endings_are_refused() {
        // The largest number, too: shares of it were added up beyond it.
        let large = format!("Worker 1: {} messages\nWorker 2: 0 messages\n", u64::MAX);
        for ending in [&large, "hello", "hello\n", "Worker 1: 4 messages\n", "Message count: 3\n"] {
            for log in [session(10, 3), session(10, 3)[..100].to_owned()] {
                assert!(history(&format!("{log}{ending}")).is_err(), "{ending}");
            }
        }
    }
}
