//! `cargo build` as a process. What it writes on stderr, its progress and the errors of the compiler, is shown as it is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::temp_dir::unless_ending;

/// Which build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`.
    Dev,
    /// `cargo build --release`.
    Release,
}

/// What cargo says while it builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Somebody waits for it.
    Shown,
    /// Only warnings and errors: between the lines of `cargo test` the rest is noise.
    Quiet,
}

/// A message of cargo on stdout, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    /// Only an artifact that can be started has one.
    executable: Option<PathBuf>,
}

/// Builds what these arguments name, if it is not up to date, and returns the program that cargo names last.
pub(crate) fn build(
    what: &[&str],
    profile: Profile,
    progress: Progress,
) -> Result<PathBuf, String> {
    build_in("", what, profile, progress)
}

/// The same in a directory of this repository that has a workspace of its own.
pub(crate) fn build_in(
    directory: &str,
    what: &[&str],
    profile: Profile,
    progress: Progress,
) -> Result<PathBuf, String> {
    let failed = |why: &dyn std::fmt::Display| format!("cargo build {}: {why}", what.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = root.join(directory).join("Cargo.toml");
    let mut command = Command::new(cargo);
    command.args([OsStr::new("build"), OsStr::new("--manifest-path"), manifest.as_os_str()]);
    command.arg("--message-format=json-render-diagnostics").args(what);
    command.args((profile == Profile::Release).then_some("--release"));
    command.args((progress == Progress::Quiet).then_some("--quiet"));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    // What has ended it may be the end of everything.
    drop(unless_ending());
    let output = output.map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    let messages = output.stdout.split(|&byte| byte == b'\n');
    let mut programs =
        messages.filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable);
    programs.next_back().ok_or_else(|| failed(&"it names no program"))
}
