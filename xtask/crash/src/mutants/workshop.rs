//! A copy of the workspace in which sabotages are built and tried, one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::{Binaries, TempDir};

use super::sabotage::Sabotage;
use crate::{exhaustive, removed};

/// What of the workspace is copied.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "client",
    "common",
    "lbctl",
    "loadbalancer",
    "tests",
    "worker",
    "xtask",
];

/// The copy, gone when dropped; what was built is kept for the next time.
pub(crate) struct Workshop {
    copy: TempDir,
    target: PathBuf,
}

impl Workshop {
    pub(crate) fn open() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let copy = TempDir::new("pipip-mutants-");
        let copy = copy.map_err(|error| format!("a temp directory: {error}"))?;
        for part in PARTS {
            copy_all(&root.join(part), &copy.path().join(part))
                .map_err(|error| format!("copying {part}: {error}"))?;
        }
        Ok(Self { copy, target: root.join("target/mutants") })
    }

    /// Tries the runs on the product as it is. A run that fails there proves nothing about a sabotage.
    pub(crate) fn judge_the_product(&self) -> Result<(), String> {
        match self.try_runs()? {
            None => Ok(()),
            Some((run, finding)) => Err(format!("{run} fails without any sabotage: {finding}")),
        }
    }

    /// Applies it, tries every run up to the first that fails, and takes it back. Returns that run and
    /// what it found.
    pub(crate) fn judge(
        &mut self,
        sabotage: &Sabotage,
    ) -> Result<Option<(&'static str, String)>, String> {
        let path = self.copy.path().join(sabotage.file);
        let original = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let places = original.matches(sabotage.from).count();
        if places != 1 {
            return Err(format!(
                "no longer applies: {} holds the text to replace {places} times",
                sabotage.file
            ));
        }
        let write = |text: &str| fs::write(&path, text).map_err(|error| error.to_string());
        write(&original.replace(sabotage.from, sabotage.to))?;
        let caught = self.try_runs();
        write(&original)?;
        caught
    }

    fn try_runs(&self) -> Result<Option<(&'static str, String)>, String> {
        let programs = ["client", "loadbalancer", "worker", "lbctl"]
            .iter()
            .flat_map(|program| ["-p", program]);
        let args: Vec<_> = ["build"].into_iter().chain(programs).collect();
        let built = self.cargo(&args)?;
        if !built.status.success() {
            return Err(format!("does not build:\n{}", String::from_utf8_lossy(&built.stderr)));
        }
        let programs = Binaries::at(&self.target.join("release"))?;
        if let Some(finding) = exhaustive::first_violation(&programs) {
            return Ok(Some(("crash", finding)));
        }
        if let Some(finding) = removed::first_violation(&programs) {
            return Ok(Some(("crash --removed", finding)));
        }
        // The log tells how many messages were executed, and only a worker's output which.
        let tests = "--test roles --test stolen_frames --test log_touched --test trust --test work";
        let args: Vec<_> = ["test", "-p", "tests"].into_iter().chain(tests.split(' ')).collect();
        let tested = self.cargo(&args)?;
        if !tested.status.success() {
            let output = String::from_utf8_lossy(&tested.stdout).into_owned();
            let failed = output.lines().find(|line| line.ends_with("FAILED"));
            return Ok(Some((
                "cargo test -p tests --test roles --test stolen_frames --test log_touched --test trust --test work",
                failed.unwrap_or("does not end well").to_owned(),
            )));
        }
        Ok(None)
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Output, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Command::new(cargo)
            .args(arguments)
            .args(["--release", "--quiet"])
            .current_dir(self.copy.path())
            .env("CARGO_TARGET_DIR", &self.target)
            // So that what its tests leave goes with the copy, should they be killed.
            .env("TMPDIR", self.copy.path())
            // Each is built once and runs for a minute.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .output()
            .map_err(|error| format!("cargo: {error}"))
    }
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != "target" {
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
