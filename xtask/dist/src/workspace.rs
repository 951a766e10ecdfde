//! What Cargo and Git know of this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::external::{Failure, run};

/// The workspace, and whom to write to about it.
///
/// `cargo metadata --format-version 1`, but for the epoch.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
    metadata: Tables,
    /// Seconds since 1970: the time of everything that is made.
    #[serde(skip)]
    pub(crate) epoch: u64,
}

/// A package of the dependency graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) manifest_path: PathBuf,
    /// None for one of this workspace.
    pub(crate) source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tables {
    dist: Table,
}

/// `[workspace.metadata.dist]`
#[derive(Debug, Deserialize)]
struct Table {
    maintainer: String,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self, Failure> {
        let metadata = run(cargo("metadata").args(["--format-version", "1"]))?;
        let mut workspace: Self = serde_json::from_str(&metadata).map_err(|error| {
            Failure::Unreadable { program: "cargo metadata", why: error.to_string() }
        })?;
        workspace.epoch = epoch(&workspace.root)?;
        Ok(workspace)
    }

    pub(crate) fn maintainer(&self) -> &str {
        &self.metadata.dist.maintainer
    }

    /// The day of everything that is made: 2026-11-27.
    pub(crate) fn day(&self) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch);
        let mut day = humantime::format_rfc3339_seconds(time).to_string();
        day.truncate("2026-11-27".len());
        day
    }
}

/// Cargo, on this workspace.
pub(crate) fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    cargo.args([command, "--locked", "--manifest-path"]).arg(manifest);
    cargo
}

/// As <https://reproducible-builds.org/docs/source-date-epoch/> has it; else the last commit's time, or where these
/// sources have no history, the manifest's.
fn epoch(root: &Path) -> Result<u64, Failure> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let committed = || {
        let mut git = Command::new("git");
        run(git.arg("-C").arg(root).args(["log", "-1", "--format=%ct"])).ok()
    };
    if let Some(epoch) = given.or_else(committed).and_then(|text| text.parse().ok()) {
        return Ok(epoch);
    }
    let manifest = root.join("Cargo.toml");
    let modified = manifest.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.map_err(crate::file_error(&manifest))?;
    Ok(modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}
