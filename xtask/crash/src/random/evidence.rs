//! What is kept of a round that went wrong, beside its log and the output of its processes.

use std::fmt::Write as _;
use std::path::PathBuf;

use tests::Sandbox;

use super::plan::RoundPlan;
use crate::witness;

/// Writes it into the sandbox's directory, and returns where that is.
pub(crate) fn write(sandbox: &Sandbox, plan: &RoundPlan, what: &str) -> PathBuf {
    let dir = sandbox.dir();
    let root = dir.parent().unwrap_or(&dir).to_owned();
    let files = [
        ("violation.txt", what.to_owned()),
        ("decisions.txt", plan.to_string()),
        ("ledger.txt", witness::dump(&dir)),
        ("processes.txt", processes(sandbox)),
    ];
    for (name, text) in files {
        if let Err(error) = std::fs::write(root.join(name), text) {
            common::tell!("{name}: {error}");
        }
    }
    root
}

/// What each process that is left is doing.
fn processes(sandbox: &Sandbox) -> String {
    let mut text = String::new();
    for pid in sandbox.processes() {
        let _ = writeln!(text, "===== {pid}");
        for file in ["cmdline", "wchan", "syscall", "status"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let _ =
                writeln!(text, "{file}: {}", String::from_utf8_lossy(&bytes).replace('\0', " "));
        }
    }
    text
}
