//! Copies of the log: the same bytes, and in canonical order.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use common::grammar::line::Line;
use common::grammar::{DEAD_NAME, LOG_NAME};
use lbctl::verify::verdict::Verdict;

use crate::failure::Failure;

/// How much of the end of a log is read: its last line is shorter.
const END_LEN: usize = 8192;

/// Where the files of these directories are not those of the first.
pub(super) fn differences(dirs: &[&Path]) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for name in [LOG_NAME, DEAD_NAME] {
        let Some((first, others)) = dirs.split_first() else { continue };
        let expected = read(&first.join(name))?;
        for dir in others {
            let path = dir.join(name);
            let found = read(&path)?;
            if found != expected {
                let at = same(&found, &expected);
                let [path, first] =
                    [&path, &first.join(name)].map(|path| path.display().to_string());
                problems.push(format!("{path} is not {first} from byte {at} on"));
            }
        }
    }
    Ok(problems)
}

/// Where the log of one directory is not how the other's begins. It may be there or not.
pub(super) fn no_prefix(dir: &Path, of: &Path) -> Result<Option<String>, Failure> {
    let path = dir.join(LOG_NAME);
    let (found, whole) = (read(&path)?, read(&of.join(LOG_NAME))?);
    let at = same(&found, &whole);
    let path = path.display();
    Ok((at < found.len()).then(|| format!("{path} leaves the others' log at byte {at}")))
}

/// What is wrong with a log that holds one whole session.
pub(super) fn faults(verdict: &Verdict) -> Vec<String> {
    let mut problems: Vec<_> = verdict.first_wrong.iter().map(ToString::to_string).collect();
    problems.extend(verdict.unfinished.iter().map(|next| format!("it ends before {next}")));
    if verdict.sessions.count != 1 {
        problems.push(format!("{} sessions instead of one", verdict.sessions.count));
    }
    if problems.is_empty() && !verdict.passed {
        problems.push("it is not right".to_owned());
    }
    problems
}

/// Whether the newest line of a log is the last total of a session.
pub(crate) fn is_finished(log: &[u8], workers: u32) -> bool {
    let end = &log[log.len().saturating_sub(END_LEN)..];
    let last = end.strip_suffix(b"\n").and_then(|end| end.rsplit(|&byte| byte == b'\n').next());
    let last = last.and_then(Line::parse_bytes);
    matches!(last, Some(Line::Total { worker, .. }) if worker.get() == workers)
}

fn same(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// One that is not there is empty.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        bytes => bytes.map_err(Failure::system(path.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use ::tests::oracle::canonical_log;
    use common::grammar::rotation::Workers;
    use tempfile::TempDir;

    use super::*;

    fn dir(log: &str) -> TempDir {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(LOG_NAME), log).unwrap();
        dir
    }

    #[test]
    fn a_copy_with_another_byte_or_dead_letter_is_found() {
        let logs = ["a\nb\n", "a\nb\n", "a\nc\n", "a\nb\nc\n"].map(dir);
        let found = |a: usize, b: usize| differences(&[logs[a].path(), logs[b].path()]).unwrap();
        assert_eq!(found(0, 1), [] as [&str; 0]);
        assert!(found(0, 2)[0].ends_with("from byte 2 on"));
        assert!(found(0, 3)[0].ends_with("from byte 4 on"));
        fs::write(logs[1].path().join(DEAD_NAME), "x").unwrap();
        assert_eq!(found(0, 1).len(), 1);
    }

    #[test]
    fn only_a_beginning_of_the_log_is_one() {
        let logs = ["a\nb\n", "a\n", "b\n", "a\nb\nc\n"].map(dir);
        let found = |it: usize| no_prefix(logs[it].path(), logs[0].path()).unwrap().is_some();
        assert_eq!([0, 1, 2, 3].map(found), [false, false, true, true]);
        assert!(!dir("").path().join("none").exists());
    }

    #[test]
    fn a_log_that_is_wrong_or_not_one_whole_session_is_found() {
        let log = canonical_log(&[("a", 2)], 2);
        let judged = |log: &str| {
            let dir = dir(log);
            let log = dir.path().join(LOG_NAME);
            faults(&lbctl::verify::check(&log, Workers::new(2).ok()).unwrap())
        };
        assert_eq!(judged(&log), [] as [&str; 0]);
        let cut = &log[..log.len() - "Worker 2: 1 messages\n".len()];
        for wrong in [&log.replace("#message 2", "#message 1"), cut, &log.repeat(2), ""] {
            assert!(!judged(wrong).is_empty(), "{wrong}");
        }
        assert!(is_finished(log.as_bytes(), 2) && !is_finished(cut.as_bytes(), 2));
        assert!(!is_finished(log.trim_end().as_bytes(), 2));
    }
}
