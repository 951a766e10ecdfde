//! What there is to know about a run that has failed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::host;
use crate::site::Site;

/// Writes down what everybody is doing, and what the stream holds, while everybody is there.
pub(crate) fn dump(site: &Site) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for host in &site.hosts {
        let _ = writeln!(text, "host {}: healthy: {}", host.number, host.addresses.is_healthy());
        for pid in host.processes() {
            let _ = writeln!(text, "===== {pid}");
            for file in ["cmdline", "wchan", "status"] {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let bytes = String::from_utf8_lossy(&bytes).replace('\0', " ");
                let _ = writeln!(text, "{file}: {bytes}");
            }
        }
    }
    let _ = match site.inspect() {
        Ok(file) => writeln!(text, "the stream: {}", file.display()),
        Err(failure) => writeln!(text, "the stream: {failure}"),
    };
    let path = site.place.dir.join("evidence.txt");
    if let Err(error) = fs::write(&path, text) {
        common::tell!("{}: {error}", path.display());
    }
}

/// The disks are gone with this process: what is on them is copied.
pub(crate) fn keep_disks(site: &Site) -> Result<(), Failure> {
    let to = site.place.dir.join("disks");
    host::directory(&to)?;
    for host in &site.hosts {
        copy(&host.dir, &to)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    let status = status.map_err(Failure::system("cp"))?;
    if status.success() {
        return Ok(());
    }
    let command = format!("cp -a {} {}", from.display(), to.display());
    Err(Failure::Command { command, why: status.to_string() })
}
