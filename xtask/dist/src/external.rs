//! Programs of others that do a part of the work, and what can go wrong with them and with files.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What this ends with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{program} cannot be started: {source}; install it, by the name that `cargo xtask dist --help` gives"
    )]
    Missing { program: String, source: io::Error },
    #[error("{program} failed: {why}")]
    Failed { program: String, why: String },
    #[error("{0}")]
    Programs(String),
    /// What was made cannot be found out.
    #[error("{0}")]
    Report(common::error::Error),
    #[error(
        "{program} needs {library}, and which Debian package has that is not known; name it in depends.rs"
    )]
    Library { program: String, library: String },
    #[error("what {program} printed is not understood: {why}")]
    Unreadable { program: &'static str, why: String },
}

/// For `map_err`: an error of a file.
pub(crate) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { path, source }
}

/// What is in a directory, in the order of the names.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(file_error(directory))?;
    let mut paths: Vec<_> = entries.iter().map(DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// Runs a command to its end. Returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.map_err(|source| Failure::Missing { program: program.clone(), source })?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(Failure::Failed { program, why: text(&output.stderr) })
    }
}
