//! What `cargo xtask dist` makes is installed as users do it, does the main job, and is removed again.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::{Binaries, Profile, Sandbox};

/// nobody, and its group.
const UNPRIVILEGED: u32 = 65534;
const PROGRAMS: [&str; 4] = ["client", "loadbalancer", "worker", "lbctl"];
/// `Halo A;10` by three workers.
const LOG: &str = include_str!("../../../tests/tests/sample.log");

/// Runs a command, which must succeed.
fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:#?}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A directory that others may enter, with the packages in it. With the programs that tests use: building those
/// that are shipped takes minutes.
fn packed(options: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let programs = Binaries::build(Profile::Dev).directory();
    let mut dist = Command::new(env!("CARGO_BIN_EXE_dist"));
    dist.arg("--programs").arg(programs).arg("--output").arg(directory.path()).args(options);
    let made = text(&ok(&mut dist));
    assert!(made.lines().all(|line| Path::new(line).is_file()), "{made}");
    directory
}

/// The only file with this extension.
fn made(directory: &Path, extension: &str) -> PathBuf {
    let paths = files(directory).into_iter();
    let paths: Vec<_> = paths.filter(|path| path.extension() == Some(extension.as_ref())).collect();
    let [path] = &paths[..] else { panic!("one .{extension} file: {paths:?}") };
    path.clone()
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// `Halo A;10` by programs that are nowhere else, as a user who has no rights but to this directory.
fn does_the_main_job(programs: &Path) -> Sandbox {
    let sandbox = Sandbox::default();
    let is_root = is_root();
    if is_root {
        for directory in [&sandbox.dir(), sandbox.dir().parent().unwrap()] {
            chown(directory, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
    }
    let start = |program: &str, args: &[&str]| {
        let mut command = Command::new(programs.join(format!("pipip-{program}")));
        command.args(args).current_dir(sandbox.dir());
        if is_root {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        sandbox.start_command(command, program)
    };
    let mut balancer = start("loadbalancer", &["3"]);
    sandbox.wait_until("it says what can be typed", || {
        balancer.stderr().contains("waiting for a submission: `pipip-client 'TEXT;COUNT'`")
    });
    let client = sandbox.end(&mut start("client", &["Halo A;10"]));
    sandbox.assert_code(&client, 0);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(LOG);
    let verdict = sandbox.end(&mut start("lbctl", &["verify", "sistem.log"]));
    sandbox.assert_code(&verdict, 0);
    sandbox.assert_clean();
    sandbox
}

fn is_root() -> bool {
    text(&ok(Command::new("id").arg("-u"))).trim() == "0"
}

#[test]
fn the_archive_is_unpacked_anywhere() {
    let directory = packed(&["--no-deb"]);
    let archive = made(directory.path(), "gz");
    let again = packed(&["--no-deb"]);
    let [one, other] = [&archive, &made(again.path(), "gz")].map(|path| fs::read(path).unwrap());
    assert!(one == other, "the same sources give the same bytes");
    let root = directory.path().join("where ever");
    fs::create_dir(&root).unwrap();
    ok(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("--strip-components=1")
        .arg("-C")
        .arg(&root));
    does_the_main_job(&root.join("bin"));

    for program in PROGRAMS {
        let name = format!("pipip-{program}");
        let version = text(&ok(Command::new(root.join("bin").join(&name)).arg("--version")));
        assert_eq!(version, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        let help = text(&ok(Command::new(root.join("bin").join(&name)).arg("--help")));
        assert!(help.starts_with("Examples:\n") && help.contains(&format!("  {name} ")), "{help}");
        for file in [
            format!("share/bash-completion/completions/{name}"),
            format!("share/zsh/site-functions/_{name}"),
            format!("share/fish/vendor_completions.d/{name}.fish"),
        ] {
            let script = fs::read_to_string(root.join(&file)).unwrap();
            assert!(script.contains(&name), "{file}: {script}");
        }
        let bash = root.join("share/bash-completion/completions").join(&name);
        ok(Command::new("bash").arg("-n").arg(bash));
    }
    for page in files(&root.join("share/man/man1")) {
        let text = fs::read_to_string(&page).unwrap();
        for section in [".SH EXAMPLES", ".SH \"EXIT STATUS\"", ".SH \"SEE ALSO\""] {
            assert!(text.contains(section), "{}: {section}\n{text}", page.display());
        }
    }
    assert_links_lead_somewhere(&root.join("share/doc/pipip"));
    let licences = fs::read_to_string(root.join("share/doc/pipip/THIRD-PARTY.txt")).unwrap();
    assert!(licences.contains("\nclap 4.") && licences.contains("Apache License"), "{licences}");
    assert!(!licences.contains("\nclap_derive "), "it is not linked");
    for file in ["systemd/system/pipip-loadbalancer@.service", "sysusers.d/pipip.conf"] {
        assert!(root.join("lib").join(file).exists(), "{file}");
    }
}

/// Relative links of each Markdown file. Those to sources are for readers of the repository: no package has them.
fn assert_links_lead_somewhere(documents: &Path) {
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|found| found == "md");
    let mut followed = 0;
    for document in files(documents).into_iter().filter(is_markdown) {
        let markdown = fs::read_to_string(&document).unwrap();
        for behind in markdown.split("](").skip(1) {
            let link = behind.split([')', '#']).next().unwrap();
            let is_source = document.ends_with("ARCHITECTURE.md") && link.contains("/src/");
            if link.is_empty() || link.contains("://") || is_source {
                continue;
            }
            let target = document.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}", document.display());
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed}");
}

/// dpkg as root, or as one who is root in a user namespace.
fn dpkg(root: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(if is_root() { "dpkg" } else { "unshare" });
    if !is_root() {
        command.args(["--map-root-user", "dpkg"]);
    }
    command.arg(format!("--root={}", root.display())).arg("--log=/dev/null").args(args);
    // It looks for programs that packages with scripts need.
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

#[test]
fn the_debian_package_is_installed_and_removed() {
    let runs = |command: &mut Command| command.output().is_ok_and(|it| it.status.success());
    let missing = if !runs(Command::new("dpkg").arg("--version")) {
        assert!(std::env::var_os("CI").is_none(), "CI needs dpkg");
        "there is no dpkg here"
    } else if !is_root() && !runs(Command::new("unshare").args(["--map-root-user", "true"])) {
        "no user namespace can be made here (`unshare --map-root-user true`)"
    } else {
        ""
    };
    if !missing.is_empty() {
        // Past the capture of the output: a test that did not run must be seen.
        let _ = writeln!(std::io::stderr(), "the Debian package: not run: {missing}");
        return;
    }
    let directory = packed(&[]);
    let package = made(directory.path(), "deb");
    let root = directory.path().join("root");
    let database = root.join("var/lib/dpkg");
    for empty in ["info", "updates"] {
        fs::create_dir_all(database.join(empty)).unwrap();
    }
    // The root is empty but for what this host has of the libraries, so Depends is judged.
    let libraries = ok(Command::new("dpkg-query").args(["--status", "libc6", "libgcc-s1"]));
    fs::write(database.join("status"), &libraries.stdout).unwrap();

    ok(&mut dpkg(&root, [OsStr::new("--install"), package.as_os_str()]));
    assert_eq!(text(&ok(&mut dpkg(&root, ["--verify", "pipip"]))), "");
    let information = files(&database.join("info"));
    let names: Vec<_> = information.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let usual = ["pipip.list", "pipip.md5sums", "format"];
    assert!(names.iter().all(|name| usual.contains(name)), "no scripts: {names:?}");

    let sandbox = does_the_main_job(&root.join("usr/bin"));

    ok(&mut dpkg(&root, ["--purge", "pipip"]));
    let left = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name != "var").collect();
    assert!(left.is_empty(), "{left:?}");
    // What is a user's stays.
    sandbox.assert_log(LOG);
}
