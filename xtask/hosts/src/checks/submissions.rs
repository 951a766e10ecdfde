//! What clients said they have handed in, and what the log holds.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use ::tests::oracle::Pairing;
use common::grammar::submission::Submission;
use lbctl::verify::lines;

use crate::load::Texts;

/// How often a text is in the log, and with which count at last.
pub(super) type Found = HashMap<String, (u32, u64)>;

/// The submissions of a log.
pub(super) fn of_log(log: &Path) -> io::Result<Found> {
    let (mut found, mut pairing) = (Found::new(), Pairing::default());
    lines::for_each(File::open(log)?, |line, _| {
        if let Some(submission) = lines::parse(line).and_then(|line| pairing.push(line)) {
            add(&mut found, &submission);
        }
    })?;
    Ok(found)
}

fn add(found: &mut Found, submission: &Submission) {
    let (count, times) = found.entry(submission.text().to_owned()).or_default();
    *count = submission.count();
    *times += 1;
}

/// Accepted ones are there exactly once, others at most once, and none that was never given.
pub(super) fn problems(texts: &Texts, found: &Found) -> Vec<String> {
    let mut problems = texts.strange.clone();
    for (text, (count, times)) in found {
        match texts.given.get(text) {
            None => problems.push(format!("`{text}` is in the log, and nobody has submitted it")),
            Some(given) if given.count != *count => {
                problems.push(format!("`{text}` has {count} messages instead of {}", given.count));
            }
            Some(_) if *times > 1 => problems.push(format!("`{text}` is in the log {times} times")),
            Some(_) => {}
        }
    }
    let lost = texts.given.iter().filter(|(text, it)| it.is_accepted && !found.contains_key(*text));
    problems.extend(lost.map(|(text, _)| format!("`{text}` was accepted, and is not in the log")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::oracle::canonical_log;

    fn found(submissions: &[(&str, u32)]) -> Vec<String> {
        let mut texts = Texts::default();
        for (text, count) in [("a", 2), ("b", 1)] {
            texts.give(0, text, count);
        }
        texts.printed(0, "accepted a;2");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), canonical_log(submissions, 2)).unwrap();
        problems(&texts, &of_log(file.path()).unwrap())
    }

    #[test]
    fn what_is_accepted_is_there_once_and_what_is_unclear_at_most_once() {
        assert_eq!(found(&[("a", 2)]), [] as [&str; 0]);
        assert_eq!(found(&[("b", 1), ("a", 2)]), [] as [&str; 0]);
    }

    #[test]
    fn a_lost_doubled_changed_or_foreign_text_is_found() {
        for wrong in [
            &[("b", 1)][..],
            &[("a", 2), ("a", 2)],
            &[("a", 2), ("b", 1), ("b", 1)],
            &[("a", 3)],
            &[("a", 2), ("c", 1)],
        ] {
            assert_eq!(found(wrong).len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn what_a_client_should_not_have_printed_is_found() {
        let mut texts = Texts::default();
        texts.printed(2, "accepted x;1");
        assert_eq!(problems(&texts, &Found::new()).len(), 1);
    }
}
