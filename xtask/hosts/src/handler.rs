//! COMMAND: this program, called again as `hosts handler FILE`, with `--lines`. It writes down the ID of each message
//! before it answers. What is there has been executed, whatever the stream and the logs say.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

/// The first argument of this program that makes it a COMMAND.
const NAME: &str = "handler";

/// COMMAND, for a host whose record is this file.
pub(crate) fn command(record: &Path) -> io::Result<[String; 3]> {
    let this = std::env::current_exe()?;
    Ok([this.display().to_string(), NAME.to_owned(), record.display().to_string()])
}

/// When this process is only to be a COMMAND: is it, and returns its exit code.
pub(crate) fn be_command() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == NAME).then(|| {
        let outcome = args
            .next()
            .ok_or_else(|| io::Error::other("no file is given"))
            .and_then(|file| record(Path::new(&file), io::stdin().lock(), io::stdout().lock()));
        outcome.map_or_else(
            |error| {
                common::tell!("{NAME}: {error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        )
    })
}

fn record(file: &Path, messages: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    let mut record = OpenOptions::new().append(true).create(true).open(file)?;
    for line in messages.lines() {
        let line = line?;
        let id = line.split('\t').next().unwrap_or_default();
        // One write: the lines of several workers do not mix.
        record.write_all(format!("{id}\n").as_bytes())?;
        answers.write_all(format!("{id}\tok\n").as_bytes())?;
        answers.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_written_down_and_answered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut answers = Vec::new();
        record(file.path(), &b"a-1\t1\t1\tx\na-2\t1\t2\tx\n"[..], &mut answers).unwrap();
        assert_eq!(answers, b"a-1\tok\na-2\tok\n");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"a-1\na-2\n");
    }
}
