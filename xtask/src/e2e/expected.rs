//! The log that the rules of the README make of submissions that were all accepted before the first
//! message was taken. Built from [`Line`] alone, and counted instead of computed, so that it does not
//! share a mistake with the rotation, the renderer or the replay.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use common::grammar::line::{self, Line};
use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;

/// So many bytes are built and compared at once.
const CHUNK_LEN: usize = 1 << 20;

/// An error is the end of a comparison: the first byte that is different, from 0, or why there is none.
type Step = Result<(), io::Result<u64>>;

/// Compares a log with what the submissions make of it. Returns the first byte that is different, from 0.
pub(super) fn compare(
    log: &Path,
    submissions: &[Submission],
    workers: Workers,
) -> io::Result<Option<u64>> {
    let mut comparison =
        Comparison { log: BufReader::new(File::open(log)?), at: 0, expected: Vec::new() };
    let lines = each_line(submissions, workers, |line| comparison.line(line));
    match lines.and_then(|()| comparison.end()) {
        Ok(()) => Ok(None),
        Err(end) => end.map(Some),
    }
}

/// Every line of the log, in its order.
fn each_line(
    submissions: &[Submission],
    workers: Workers,
    mut on_line: impl FnMut(Line<'_>) -> Step,
) -> Step {
    for submission in submissions {
        on_line(Line::Client { text: submission.text() })?;
        on_line(Line::Count { count: submission.count() })?;
    }
    let everyone: Vec<WorkerId> = workers.ids().collect();
    let mut executed = vec![0; everyone.len()];
    let mut turn = everyone.iter().cycle();
    for submission in submissions {
        for index in 1..=submission.count() {
            on_line(Line::Received { text: submission.text(), index })?;
        }
        for &worker in turn.by_ref().take(submission.count() as usize) {
            executed[worker.index()] += 1;
            on_line(Line::Executed { worker })?;
        }
    }
    for (&worker, &messages) in everyone.iter().zip(&executed) {
        on_line(Line::Total { worker, messages })?;
    }
    Ok(())
}

struct Comparison<R> {
    log: R,
    /// Bytes that are equal so far.
    at: u64,
    /// Built, and not compared yet.
    expected: Vec<u8>,
}

impl<R: Read> Comparison<R> {
    fn line(&mut self, line: Line<'_>) -> Step {
        line::append(&mut self.expected, line);
        if self.expected.len() < CHUNK_LEN { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Step {
        let mut found = Vec::with_capacity(self.expected.len());
        let limit = self.expected.len() as u64;
        self.log.by_ref().take(limit).read_to_end(&mut found).map_err(Err)?;
        if found != self.expected {
            let equal = found.iter().zip(&self.expected).take_while(|(a, b)| a == b).count();
            return Err(Ok(self.at + equal as u64));
        }
        self.at += limit;
        self.expected.clear();
        Ok(())
    }

    /// Nothing may follow.
    fn end(mut self) -> Step {
        self.flush()?;
        match self.log.read(&mut [0]).map_err(Err)? {
            0 => Ok(()),
            _ => Err(Ok(self.at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../tests/tests/sample.log");

    fn compared(log: &[u8]) -> Option<u64> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), log).unwrap();
        let submissions = ["Halo A;10".parse().unwrap()];
        compare(file.path(), &submissions, Workers::new(3).unwrap()).unwrap()
    }

    #[test]
    fn the_sample_is_what_the_rules_say() {
        assert_eq!(compared(SAMPLE.as_bytes()), None);
    }

    #[test]
    fn every_changed_byte_is_found() {
        for byte in 0..SAMPLE.len() {
            let mut log = SAMPLE.as_bytes().to_vec();
            log[byte] ^= 1;
            assert_eq!(compared(&log), Some(byte as u64));
            assert_eq!(compared(&log[..byte]), Some(byte as u64));
        }
        let longer = format!("{SAMPLE}\n");
        assert_eq!(compared(longer.as_bytes()), Some(SAMPLE.len() as u64));
    }
}
