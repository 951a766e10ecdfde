//! How messages name the log and what to do: as seen from where the user is, so that a command in one can be
//! pasted there.

use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::instance::LOG_NAME;
use crate::rotation::Workers;

/// The path of the log, in a message.
pub const LOG: Advice = Advice::Log;
/// The command that sets a session aside.
pub const FRESH: Advice = Advice::Fresh;

/// The directory, unless it is the current one; and N, where the process knows it.
static GIVEN: OnceLock<(Option<PathBuf>, Option<Workers>)> = OnceLock::new();

/// Told once, when a program begins: it works on one directory, and its errors come from everywhere.
pub fn give(dir: &Path, workers: Option<Workers>) {
    let elsewhere = (dir != Path::new(".")).then(|| dir.to_owned());
    // A program begins once.
    let _ = GIVEN.set((elsewhere, workers));
}

fn dir() -> Option<&'static Path> {
    GIVEN.get().and_then(|(dir, _)| dir.as_deref())
}

/// A command for the directory.
#[must_use]
pub fn command(program: &str, args: impl Display) -> String {
    match dir().map(quoted) {
        Some(dir) => format!("{program} --dir {dir} {args}"),
        None => format!("{program} {args}"),
    }
}

/// What is written in a message's place for it.
#[derive(Clone, Copy, Debug)]
pub enum Advice {
    /// See [`LOG`].
    Log,
    /// See [`FRESH`].
    Fresh,
}

impl Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, dir()) {
            (Self::Log, None) => f.write_str(LOG_NAME),
            (Self::Log, Some(dir)) => f.write_str(&quoted(&dir.join(LOG_NAME))),
            (Self::Fresh, _) => {
                let workers = GIVEN.get().and_then(|(_, workers)| *workers);
                let n = workers.map_or("N".to_owned(), |workers| workers.to_string());
                f.write_str(&command("loadbalancer", format!("--fresh {n}")))
            }
        }
    }
}

/// A path as one word for a shell, and as no option for a program.
fn quoted(path: &Path) -> String {
    if path.as_os_str().as_bytes().starts_with(b"-") {
        return quoted(&Path::new(".").join(path));
    }
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:@".contains(byte);
    match path.to_str() {
        Some(text) if bytes.iter().all(is_plain) => text.to_owned(),
        Some(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => format!("$'{}'", bytes.escape_ascii()),
    }
}
