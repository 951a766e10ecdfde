//! A promise that was not kept, and everything that is known about it.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Serialize;
use tests::{IpcObject, Sandbox, signal_all};

use crate::{is_interrupted, witness};

/// How long killed processes may take to go.
const DYING: Duration = Duration::from_secs(2);

/// One that was seen in a sandbox.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) what: String,
    /// The directory that holds everything about it, if anything is kept.
    pub(crate) kept: Option<PathBuf>,
}

impl Violation {
    /// Writes down what there is to know while everyone is still there, and `about`, which only the tool knows. Then
    /// ends everyone, and keeps the directory. After Ctrl-C nobody is to blame, and nothing is kept.
    pub(crate) fn seen(sandbox: &Sandbox, what: String, about: impl Display) -> Self {
        if is_interrupted() {
            return Self { what, kept: None };
        }
        let (dump, processes) = (witness::dump(&sandbox.dir()), processes(sandbox));
        let evidence = format!("{what}\n\n{about}\n{dump}\n{processes}{}", sandbox.report());
        sandbox.root().keep();
        let kept = sandbox.root().path().to_owned();
        let path = kept.join("evidence.txt");
        if let Err(error) = std::fs::write(&path, evidence) {
            common::tell!("{}: {error}", path.display());
        }
        clear(sandbox);
        Self { what, kept: Some(kept) }
    }

    /// Removes the directory.
    pub(crate) fn forget(&self) {
        if let Some(kept) = &self.kept {
            // What cannot be removed stays in the temp directory.
            let _ = std::fs::remove_dir_all(kept);
        }
    }
}

impl From<String> for Violation {
    fn from(what: String) -> Self {
        Self { what, kept: None }
    }
}

/// Kills everyone in a sandbox and removes its IPC objects, as a reboot does.
pub(crate) fn clear(sandbox: &Sandbox) {
    let start = Instant::now();
    // Until they are dead they may make another one.
    while !sandbox.processes().is_empty() && start.elapsed() < DYING {
        signal_all(&sandbox.dir(), Signal::SIGKILL);
        thread::sleep(Duration::from_millis(1));
    }
    sandbox.ipc_objects().into_iter().for_each(IpcObject::remove);
}

/// What each process that is left is doing.
fn processes(sandbox: &Sandbox) -> String {
    let mut text = String::new();
    for pid in sandbox.processes() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "===== {pid}");
        for file in ["cmdline", "wchan", "syscall", "status"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let bytes = String::from_utf8_lossy(&bytes).replace('\0', " ");
            let _ = writeln!(text, "{file}: {bytes}");
        }
    }
    text
}
