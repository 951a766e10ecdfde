//! The licences of the libraries that are linked into the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::external::{Failure, entries, file_error, run};
use crate::workspace::{Package, Workspace, cargo};

/// How the names of files with licences begin.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
const RULE: &str =
    "--------------------------------------------------------------------------------";

/// All of them as one text, in which each licence is once.
pub(crate) fn licences(workspace: &Workspace) -> Result<String, Failure> {
    let linked = linked()?;
    let packages = workspace.packages.iter().filter(|package| package.source.is_some());
    let packages: Vec<_> =
        packages.filter(|package| linked.contains(&package.to_string())).collect();
    let mut text = "These libraries are linked into the programs:\n\n".to_owned();
    let mut licences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let under = package.license.as_deref().unwrap_or("see below");
        let _ = writeln!(text, "{package}: {under}; {}", package.from());
        for licence in package.licences()? {
            licences.entry(licence).or_default().push(package.to_string());
        }
    }
    text.push_str(
        "Rust's standard library: MIT OR Apache-2.0; https://www.rust-lang.org\n\
         Copyright (c) The Rust Project Contributors; both texts stand below.\n",
    );
    for (licence, of) in licences {
        let _ = write!(text, "\n{RULE}\n{}\n{RULE}\n\n{licence}\n", of.join("\n"));
    }
    Ok(text)
}

/// Names and versions, also of those that belong to this workspace. Not what only builds it.
fn linked() -> Result<BTreeSet<String>, Failure> {
    let mut tree = cargo("tree");
    tree.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"]);
    tree.args(["--format", "{p}"]);
    tree.args(
        ["client", "loadbalancer", "worker", "lbctl"].map(|name| format!("--package={name}")),
    );
    let name_and_version = |line: &str| {
        let mut words = line.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    };
    Ok(run(&mut tree)?.lines().filter_map(name_and_version).collect())
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Package {
    fn from(&self) -> String {
        let repository = self.repository.clone();
        repository.unwrap_or_else(|| format!("https://crates.io/crates/{}", self.name))
    }

    /// The texts that lie beside its manifest.
    fn licences(&self) -> Result<Vec<String>, Failure> {
        let directory = self.manifest_path.parent().unwrap_or(Path::new("."));
        let mut paths = entries(directory)?;
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin))
        });
        let read = |path: &std::path::PathBuf| fs::read_to_string(path).map_err(file_error(path));
        let texts: Result<Vec<_>, _> = paths.iter().map(read).collect();
        // The same text with ends of lines of another system is the same.
        Ok(texts?.iter().map(|text| text.replace('\r', "").trim_matches('\n').to_owned()).collect())
    }
}
