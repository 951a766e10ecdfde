//! The archive: unpacked anywhere, its programs run; with `--strip-components=1 -C /usr/local` they are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::Binaries;

use crate::external::{Failure, run};
use crate::tree::{DOCUMENTS, Tree};
use crate::workspace::Workspace;
use crate::{NAME, VERSION};

/// Makes it by way of a directory that is not there yet. Returns where it is.
pub(crate) fn make(
    workspace: &Workspace,
    binaries: &Binaries,
    stage: &Path,
) -> Result<PathBuf, Failure> {
    let name = format!("{NAME}-{VERSION}-{}-linux", std::env::consts::ARCH);
    let tree = Tree::at(&stage.join(&name));
    tree.lay_out(workspace, binaries, "share/zsh/site-functions")?;
    tree.copy(&workspace.root.join("LICENSE"), &format!("{DOCUMENTS}/LICENSE"))?;
    let archive = stage.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    // Else it holds the order of a directory, the time of the day and who made it.
    tar.args(["--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", workspace.epoch)).args(["--use-compress-program", "gzip -9n"]);
    tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(stage).arg(&name);
    run(&mut tar)?;
    Ok(archive)
}
