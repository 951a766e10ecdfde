//! `cargo xtask` as a process. Built here, since `cargo test` builds only the tests.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// A command for it.
pub(crate) fn xtask(args: &[&str]) -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(|| tests::built(&["-p", "xtask"])));
    command.args(args);
    command
}

/// Runs it to its end, which must be this exit code.
pub(crate) fn run(args: &[&str], code: i32) -> Output {
    let output = xtask(args).output().expect("running xtask");
    assert_eq!(output.status.code(), Some(code), "xtask {args:?}: {}", both(&output));
    output
}

/// What it printed as JSON.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", both(output)))
}

/// Everything that it printed.
pub(crate) fn both(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("\n{}\n{}", text(&output.stdout), text(&output.stderr))
}
