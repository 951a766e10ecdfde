//! Dead letters, read and printed.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use common::dead::settled::{self, Fate, Settled};
use common::dead::{self, Letter};
use common::error::{Error, exit};
use common::grammar::message_id::MessageId;
use common::instance::directory::Directory;
use common::instance::line_file::LineFile;
use common::program::advice;

use crate::terminal::{counted, harmless, print, shortened};

/// So much is printed at once.
const PRINTED_LEN: usize = 1 << 16;

/// Hands out the letters that are there now, each once, with what became of it. Memory grows with their number,
/// by some 40 bytes each.
pub(super) fn each(
    directory: &Directory,
    mut each: impl FnMut(Letter, Option<Fate>) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(file) = LineFile::find(directory, dead::NAME)? else { return Ok(()) };
    // What is submitted again may die again meanwhile.
    let end = file.len()?;
    let settled = Settled::find(directory)?;
    for at in settled.iter().flat_map(|settled| &settled.unreadable) {
        tell_unreadable(directory.path(), settled::NAME, *at);
    }
    let mut seen = HashSet::new();
    file.read(0, |at, letter: Result<Letter, _>| match letter {
        _ if at >= end => Ok(()),
        Ok(letter) if seen.insert(letter.id) => {
            let fate = settled.as_ref().and_then(|settled| settled.fate(letter.id));
            each(letter, fate)
        }
        Ok(_) => Ok(()), // its worker was killed before it counted the message
        Err(_) => {
            tell_unreadable(directory.path(), dead::NAME, at);
            Ok(())
        }
    })?;
    Ok(())
}

fn tell_unreadable(dir: &Path, name: &str, at: u64) {
    let path = dir.join(name);
    common::tell!("lbctl: {}: the line at byte {at} cannot be read; passed over", path.display());
}

/// Prints those about which nothing was done yet.
pub(super) fn list(directory: &Directory, json: bool) -> Result<(), Error> {
    let mut out = String::new();
    each(directory, |letter, fate| {
        if matches!(fate, Some(Fate::Retried | Fate::Dropped)) {
            return Ok(());
        }
        if json {
            let line = serde_json::to_string(&letter).map_err(std::io::Error::from);
            out.push_str(&line.map_err(Error::system("JSON"))?);
        } else {
            out.push_str(&line(&letter));
        }
        out.push('\n');
        if out.len() >= PRINTED_LEN {
            print(&std::mem::take(&mut out))?;
        }
        Ok(())
    })?;
    print(&out)
}

fn line(letter: &Letter) -> String {
    let Letter { id, worker, attempts, outcome, died, text, .. } = letter;
    let attempts = counted((*attempts).into(), "attempt");
    let [outcome, died, text] = [outcome, died, text].map(|text| shortened(&harmless(text)));
    format!("{id}  worker {worker}  {attempts}  {outcome}  {died}  {text}")
}

/// Prints all of one. Returns the exit code.
pub(super) fn show(directory: &Directory, id: MessageId) -> Result<u8, Error> {
    let mut found = None;
    each(directory, |letter, fate| {
        if letter.id == id {
            found = Some(describe(&letter, fate));
        }
        Ok(())
    })?;
    let Some(description) = found else {
        super::tell_unknown(directory.path(), id);
        return Ok(exit::USAGE);
    };
    print(&description).map(|()| 0)
}

fn describe(letter: &Letter, fate: Option<Fate>) -> String {
    let Letter { id, text, index, worker, attempts, outcome, stderr, begun, died } = letter;
    let state = match fate {
        None => "nothing was done about it".to_owned(),
        Some(Fate::Retried) => "retried: its text was submitted again".to_owned(),
        Some(Fate::Dropped) => "dropped".to_owned(),
        Some(Fate::Retrying) => {
            let retry = advice::command("lbctl dead retry", id);
            format!("a retry was cut short; `{retry}` finishes it")
        }
    };
    let mut out = String::new();
    let fields = [
        ("id", &id.to_string()),
        ("state", &state),
        ("text", text),
        ("index", &index.to_string()),
        ("worker", &worker.to_string()),
        ("attempts", &attempts.to_string()),
        ("outcome", outcome),
        ("begun", begun),
        ("died", died),
    ];
    for (name, value) in fields {
        let _ = writeln!(out, "{name:<9} {}", harmless(value));
    }
    let _ = writeln!(out, "stderr{}", if stderr.is_empty() { "    nothing" } else { "" });
    for line in stderr.lines() {
        let _ = writeln!(out, "    {}", harmless(line));
    }
    out
}
