//! Judges a log after the clock has stopped: nothing counts as fast that is not right.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use common::grammar::line::Line;
use common::history::replay::{Replay, Summary};
use lbctl::verify::lines;

use super::case::{Case, Shape};
use super::failure::Failure;
use super::texts::{Texts, parts};

/// Texts that are to come.
enum Due {
    /// The same each time.
    Same(Vec<u8>),
    /// Those of a file, each once; of each client the lines that are left of its part, in their order.
    Lines(Texts, Vec<Range<u32>>),
}

impl Due {
    fn of(case: &Case) -> Self {
        match case.shape {
            Shape::Many => Self::Same(case.text().into_bytes()),
            Shape::Lines { clients } => {
                Self::Lines(Texts::new(case.lens), parts(case.messages, clients).collect())
            }
        }
    }

    /// Whether this one may come now.
    fn take(&mut self, text: &[u8]) -> bool {
        match self {
            Self::Same(same) => text == same,
            Self::Lines(texts, left) => {
                let Some(line) = texts.line(text) else { return false };
                let its = left.iter_mut().find(|left| left.start == line && line < left.end);
                its.is_some_and(|left| left.next().is_some())
            }
        }
    }
}

/// The log must be one session, complete and in canonical order, with this case's messages in it.
pub(super) fn canonical(log: &Path, case: &Case) -> Result<(), Failure> {
    let mut replay = Replay::new(Some(case.workers));
    let mut summary = None;
    let client = Line::Client { text: "" }.to_string().into_bytes();
    let mut submitted = Due::of(case);
    each_line(log, case, |line| {
        if line.strip_prefix(&*client).is_some_and(|text| !submitted.take(text)) {
            return Err("this is not a text that is to come".to_owned());
        }
        if summary.is_some() {
            return Err("the session has ended".to_owned());
        }
        summary = replay.push(line).map_err(|fault| fault.to_string())?;
        Ok(())
    })?;
    replay.finish().map_err(|fault| wrong(case, fault.to_string()))?;
    let messages = u64::from(case.messages);
    let due = Summary {
        submissions: case.submissions().into(),
        messages,
        shares: case.shares().map(|(_, share)| share).collect(),
    };
    match summary {
        Some(found) if found == due => Ok(()),
        found => Err(wrong(case, format!("it came to {found:?}, not {due:?}"))),
    }
}

/// For a program that keeps no order between workers: every line once, client lines and `Received` in order.
pub(super) fn complete(log: &Path, case: &Case) -> Result<(), Failure> {
    let (mut to_submit, mut to_receive) = (Due::of(case), Due::of(case));
    let count_due = case.messages / case.submissions();
    let (mut submitted, mut received) = (0, 0);
    let mut executed = vec![0u64; case.workers.get() as usize];
    each_line(log, case, |line| {
        let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        match Line::parse(line).ok_or("none of the five kinds of line")? {
            Line::Received { text, index }
                if index == received % count_due + 1 && to_receive.take(text.as_bytes()) =>
            {
                received += 1;
            }
            Line::Executed { worker } if worker.index() < executed.len() => {
                executed[worker.index()] += 1;
            }
            Line::Client { text } if to_submit.take(text.as_bytes()) => submitted += 1,
            Line::Count { count } if count == count_due => {}
            Line::Total { worker, messages }
                if messages == case.workers.share(worker, u64::from(case.messages)) => {}
            _ => return Err("unexpected".to_owned()),
        }
        Ok(())
    })?;
    let due = case.shares().map(|(_, share)| share);
    if (submitted, received) == (case.submissions(), case.messages)
        && due.eq(executed.iter().copied())
    {
        return Ok(());
    }
    let why = format!("{submitted} submitted, {received} received, {executed:?} executed");
    Err(wrong(case, why))
}

/// Hands over each line, given without its `\n`; all of them together must have the right length.
fn each_line(
    log: &Path,
    case: &Case,
    mut judge: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), Failure> {
    let system = || Failure::system(log.display().to_string());
    let (mut number, mut first_wrong) = (0u64, None);
    let len = lines::for_each(File::open(log).map_err(system())?, |line, is_whole| {
        number += 1;
        if first_wrong.is_none() {
            let judged = if is_whole { judge(line) } else { Err("it is cut off".to_owned()) };
            let line = String::from_utf8_lossy(line);
            first_wrong = judged.err().map(|why| format!("line {number}, `{line}`: {why}"));
        }
    });
    let (len, due) = (len.map_err(system())?, case.log_len());
    let wrong_len = (len != due).then(|| format!("it has {len} bytes, not {due}"));
    first_wrong.or(wrong_len).map_or(Ok(()), |why| Err(wrong(case, why)))
}

fn wrong(case: &Case, why: String) -> Failure {
    Failure::Wrong { case: case.to_string(), why }
}
