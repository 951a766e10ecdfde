//! Directories and logs that cannot be used: one clear line, exit code 3, and nothing is changed.
#![forbid(unsafe_code)]

use std::os::unix::fs::symlink;
use std::path::Path;

use rstest::rstest;
use tests::Sandbox;

/// Every program, with something to do.
const PROGRAMS: [(&str, &str); 3] =
    [("client", "Halo A;10"), ("loadbalancer", "3"), ("worker", "1")];

/// Each program refuses this directory, with one line that says why.
fn assert_all_refuse(sandbox: &Sandbox, dir: &Path, says: &str) {
    for (program, arg) in PROGRAMS {
        let ended = sandbox.run(program, &["--dir", dir.to_str().unwrap(), arg]);
        sandbox.assert_code(&ended, 3);
        assert_eq!(ended.stdout, "", "{ended:#?}");
        assert!(ended.stderr.contains(says), "{says}: {ended:#?}");
        assert!(ended.stderr.contains(dir.to_str().unwrap()), "names the object: {ended:#?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    }
}

#[rstest]
#[case::missing("missing", "No such file or directory")]
#[case::below_a_file("file/below", "Not a directory")]
#[case::a_file("file", "Not a directory")]
fn no_such_directory(#[case] name: &str, #[case] says: &str) {
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.dir().join("file"), "untouched").unwrap();
    assert_all_refuse(&sandbox, &sandbox.dir().join(name), says);
    assert_eq!(std::fs::read_to_string(sandbox.dir().join("file")).unwrap(), "untouched");
    let left: Vec<_> = std::fs::read_dir(sandbox.dir()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// In `/sys` nobody can make a file, not even root.
#[test]
fn a_directory_that_is_not_writable() {
    let sandbox = Sandbox::default();
    let is_own = nix::unistd::geteuid().is_root();
    let says = if is_own { "must be writable" } else { "the directory belongs to root" };
    assert_all_refuse(&sandbox, Path::new("/sys"), says);
}

/// A log that is no file of our own.
#[rstest]
#[case::symlink("is a symbolic link", |log: &Path| {
    std::fs::write(log.with_file_name("target"), "untouched").unwrap();
    symlink("target", log).unwrap();
})]
#[case::dangling_symlink("is a symbolic link", |log: &Path| symlink("nowhere", log).unwrap())]
#[case::fifo("is not a regular file", |log: &Path| {
    nix::unistd::mkfifo(log, nix::sys::stat::Mode::S_IRWXU).unwrap();
})]
#[case::directory("is a directory", |log: &Path| std::fs::create_dir(log).unwrap())]
#[case::socket("is not a regular file", |log: &Path| {
    std::os::unix::net::UnixListener::bind(log).unwrap();
})]
fn what_is_not_a_log(#[case] says: &str, #[case] make: fn(&Path)) {
    let sandbox = Sandbox::default();
    make(&sandbox.log_path());
    let before = listing(&sandbox);
    assert_all_refuse(&sandbox, &sandbox.dir(), says);
    assert_eq!(listing(&sandbox), before);
    assert_eq!(sandbox.ipc_objects(), []);
}

/// As after `sudo loadbalancer` once, and without it now; seen from the other side.
#[test]
fn a_log_of_another_user() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give a file to another user");
        return;
    }
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.log_path(), "theirs").unwrap();
    std::os::unix::fs::chown(sandbox.log_path(), Some(NOBODY), None).unwrap();
    assert_all_refuse(&sandbox, &sandbox.dir(), "belongs to nobody, and this runs as root");
    assert_eq!(sandbox.log(), "theirs");
    assert_eq!(sandbox.ipc_objects(), []);
}

/// A log that another program wrote is not continued, and not touched.
#[rstest]
#[case::text("hello\n")]
#[case::no_line_end("hello")]
#[case::totals_without_messages("Worker 1: 4 messages\n")]
#[case::bytes("\0\0\0\0")]
fn a_log_that_is_none_of_ours(#[case] contents: &str) {
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.log_path(), contents).unwrap();
    // A worker does not read it.
    for (program, arg) in PROGRAMS.into_iter().filter(|(program, _)| *program != "worker") {
        let ended = sandbox.run(program, &[arg]);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("cannot be read back"), "{ended:#?}");
        assert!(ended.stderr.contains("`loadbalancer --fresh "), "what to do: {ended:#?}");
        assert_eq!(sandbox.log(), contents, "{ended:#?}");
    }
    sandbox.assert_clean();
    // What the message says to do works.
    let mut fresh = sandbox.start("loadbalancer", &["--fresh", "3"]);
    sandbox.wait_until("it was set aside", || fresh.stderr().contains("sistem.log.1"));
    sandbox.ok("client", &["Halo A;10"]);
    let ended = sandbox.end(&mut fresh);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(include_str!("sample.log"));
    let aside = std::fs::read_to_string(sandbox.dir().join("sistem.log.1")).unwrap();
    assert_eq!(aside, contents);
}

/// Names and contents of a directory's files.
fn listing(sandbox: &Sandbox) -> Vec<(std::path::PathBuf, String)> {
    let entries = std::fs::read_dir(sandbox.dir()).unwrap().map(|entry| entry.unwrap());
    let mut listing: Vec<_> = entries
        .map(|entry| {
            let is_file = entry.file_type().unwrap().is_file();
            let contents = is_file.then(|| std::fs::read_to_string(entry.path()).unwrap());
            (entry.path(), contents.unwrap_or_default())
        })
        .collect();
    listing.sort();
    listing
}
