//! How messages name the log and what to do: as seen from where the user is, so that a command in one can be
//! pasted there.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use crate::grammar::LOG_NAME;
use crate::grammar::rotation::Workers;

/// The path of the log, in a message.
pub const LOG: Advice = Advice(|| quoted(&dir().unwrap_or(Path::new("")).join(LOG_NAME)));
/// The command that sets a session aside.
pub const FRESH: Advice = Advice(|| {
    let workers = GIVEN.get().and_then(|(_, workers)| *workers);
    let n = workers.map_or("N".to_owned(), |workers| workers.to_string());
    command("loadbalancer", format_args!("--fresh {n}"))
});

/// The programs, by their plain names.
pub const PROGRAMS: [&str; 4] = ["client", "loadbalancer", "worker", "lbctl"];
/// As many as the examples have.
const USUAL_WORKERS: u32 = 3;

/// The command that looks at a log.
pub const VERIFY: Advice = Advice(|| name("lbctl verify"));

/// The directory, unless it is the current one; and N, where the process knows it.
static GIVEN: OnceLock<(Option<PathBuf>, Option<Workers>)> = OnceLock::new();

/// What the names of the programs begin with, as a package may have installed them: this one's does.
static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let own = std::env::current_exe().ok();
    let own = own.as_ref().and_then(|own| own.file_name()?.to_str()).unwrap_or_default();
    PROGRAMS.iter().find_map(|program| own.strip_suffix(program)).unwrap_or_default().to_owned()
});

/// What the names of the programs begin with here.
#[must_use]
pub fn prefix() -> &'static str {
    &PREFIX
}

/// What a program of ours is called here.
#[must_use]
pub fn name(program: &str) -> String {
    format!("{}{program}", *PREFIX)
}

/// Set once, when a program begins: it works on one directory, and its errors come from everywhere.
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
    let dir = dir().map_or_else(String::new, |dir| format!(" --dir {}", quoted(dir)));
    format!("{}{program}{dir} {args}", *PREFIX).trim_end().to_owned()
}

/// What to say to whoever waits for a load balancer, where none is running; `workers`: its session's N, if that is
/// given. Begins with `; `.
#[must_use]
pub fn no_balancer(workers: Option<Workers>) -> String {
    let n = workers.map_or(USUAL_WORKERS, Workers::get);
    let place = dir().map_or_else(|| "this directory".to_owned(), quoted);
    let start = command("loadbalancer", n);
    format!("; no load balancer is running in {place}: start one there: `{start}`")
}

/// What is written in a message's place for it.
#[derive(Clone, Copy, Debug)]
pub struct Advice(fn() -> String);

impl Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0())
    }
}

/// A path as one word for a shell, and as no option for a program.
fn quoted(path: &Path) -> String {
    let is_option = path.as_os_str().as_bytes().starts_with(b"-");
    if is_option { word(Path::new(".").join(path).as_os_str()) } else { word(path.as_os_str()) }
}

/// Text as one word for a shell.
#[must_use]
pub fn word(text: &OsStr) -> String {
    let bytes = text.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:@".contains(byte);
    match text.to_str() {
        Some(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Some(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => format!("$'{}'", bytes.escape_ascii()),
    }
}
