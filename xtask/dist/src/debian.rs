//! The Debian package. Nothing runs when it is installed or removed, and no service is enabled.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::Binaries;

use crate::external::{Failure, entries, file_error, run};
use crate::tree::{DOCUMENTS, PAGES, Tree};
use crate::workspace::Workspace;
use crate::{NAME, VERSION, depends};

/// Of the packaging, counted from 1 for each version of what is packaged.
const REVISION: u32 = 1;
const SHORT: &str = "spread messages over local workers in strict rotation";
const LONG: [&str; 4] = [
    "Clients submit messages through shared memory; the load balancer logs each of",
    "them and hands it to one of N worker processes, in turn. Workers run a command",
    "for each message, with retries and time limits. One log shows every message",
    "exactly once and in order, whichever process is killed on the way.",
];

/// Makes it by way of a directory that is not there yet. Returns where it is.
pub(crate) fn make(
    workspace: &Workspace,
    binaries: &Binaries,
    stage: &Path,
) -> Result<PathBuf, Failure> {
    let usr = stage.join("usr");
    let tree = Tree::at(&usr);
    tree.lay_out(workspace, binaries, "share/zsh/vendor-completions")?;
    let document = |name: &str| format!("{DOCUMENTS}/{name}");
    tree.copy(&workspace.root.join("CHANGELOG.md"), &document("changelog"))?;
    let version = format!("{VERSION}-{REVISION}");
    tree.write(&document("changelog.Debian"), changelog(workspace, &version)?.as_bytes())?;
    tree.write(&document("copyright"), copyright(workspace)?.as_bytes())?;
    let mut compressed = files(&usr.join(PAGES))?;
    compressed.extend(["changelog", "changelog.Debian"].map(|name| usr.join(document(name))));
    run(Command::new("gzip").args(["-9n", "--"]).args(compressed))?;

    let architecture = run(Command::new("dpkg").arg("--print-architecture"))?;
    let installed = files(stage)?;
    let bytes: u64 = installed.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let depends = depends::of(&files(&usr.join("bin"))?)?;
    let control = format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: {architecture}\n\
         Maintainer: {}\nInstalled-Size: {}\nDepends: {depends}\n\
         Section: utils\nPriority: optional\nDescription: {SHORT}\n {}\n",
        workspace.maintainer(),
        bytes.div_ceil(1024),
        LONG.join("\n "),
    );
    let information = Tree::at(&stage.join("DEBIAN"));
    let sums = sums(stage, &installed)?;
    information.write("md5sums", sums.as_bytes())?;
    information.write("control", control.as_bytes())?;
    fs::set_permissions(stage, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(file_error(stage))?;

    let package = stage.with_file_name(format!("{NAME}_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", workspace.epoch.to_string());
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(stage).arg(&package);
    run(&mut build)?;
    Ok(package)
}

/// What the packaging's own changelog says.
fn changelog(workspace: &Workspace, version: &str) -> Result<String, Failure> {
    let date = format!("--date=@{}", workspace.epoch);
    let date = run(Command::new("date").args(["--utc", "--rfc-email", &date]))?;
    let maintainer = workspace.maintainer();
    Ok(format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * What is new stands in changelog.gz.\n\n \
         -- {maintainer}  {date}\n"
    ))
}

/// As <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/> has it.
fn copyright(workspace: &Workspace) -> Result<String, Failure> {
    let path = workspace.root.join("LICENSE");
    let licence = fs::read_to_string(&path).map_err(file_error(&path))?;
    let holder = licence.lines().find_map(|line| line.strip_prefix("Copyright (c) "));
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: {NAME}\n\
         Comment: The licences of the libraries that are linked into the programs are in\n \
         /usr/{DOCUMENTS}/THIRD-PARTY.txt.\n\n\
         Files: *\nCopyright: {}\nLicense: Expat\n",
        holder.unwrap_or_default(),
    );
    let terms = licence.lines().skip_while(|line| !line.starts_with("Permission"));
    for line in terms {
        let _ = writeln!(text, " {}", if line.is_empty() { "." } else { line });
    }
    Ok(text)
}

/// What `dpkg --verify` compares with.
fn sums(stage: &Path, files: &[PathBuf]) -> Result<String, Failure> {
    let below = files.iter().filter_map(|file| file.strip_prefix(stage).ok());
    let sums = run(Command::new("md5sum").current_dir(stage).arg("--").args(below))?;
    Ok(sums + "\n")
}

/// All files below a directory, in the order of their paths.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in entries(directory)? {
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
