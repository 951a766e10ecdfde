//! What `lbctl` and `cargo xtask` print where nobody reads, or nothing can be written: quiet, or an error; never a
//! panic.
#![forbid(unsafe_code)]

#[expect(dead_code, reason = "e2e.rs uses the rest of it")]
mod xtask;

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use tests::{Binaries, Profile, Sandbox};

/// With standard output closed by its reader, or full.
fn run(mut command: Command, is_full: bool, stderr: impl Into<Stdio>) -> Output {
    if is_full {
        command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
    } else {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
    }
    command.stderr(stderr).output().unwrap()
}

/// It is quiet where nobody reads, and fails on a full disk; `again` is done before each run.
fn assert_no_panic(again: impl Fn(), command: impl Fn() -> Command) {
    again();
    let closed = run(command(), false, Stdio::piped());
    assert_eq!((closed.status.code(), &closed.stderr[..]), (Some(0), &b""[..]), "{closed:?}");
    again();
    let full = run(command(), true, Stdio::piped());
    assert_eq!(full.status.code(), Some(3), "{full:?}");
    let stderr = String::from_utf8_lossy(&full.stderr);
    assert!(stderr.contains("standard output: No space left on device"), "{stderr}");
    again();
    // Neither can be said.
    let dev_full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(run(command(), true, dev_full).status.code(), Some(3));
}

#[rstest]
#[case(&["status"])]
#[case(&["status", "--json"])]
#[case(&["metrics"])]
#[case(&["verify", "sistem.log"])]
#[case(&["verify", "--json", "sistem.log"])]
#[case(&["inspect"])]
#[case(&["inspect", "--all"])]
#[case(&["dead", "list"])]
#[case(&["dead", "list", "--json"])]
#[case(&["dead", "show", "0123456789abcdef-1"])]
#[case(&["rotate"])]
fn of_each_command(#[case] args: &[&str]) {
    let sandbox = Sandbox::default();
    let again = || {
        std::fs::write(sandbox.log_path(), include_str!("sample.log")).unwrap();
        let letter = r#"{"id":"0123456789abcdef-1","text":"x","index":1,"worker":1,"attempts":1,
            "outcome":"exit 1","stderr":"","begun":"2026-01-01T00:00:00Z","died":"2026-01-01T00:00:00Z"}"#;
        std::fs::write(sandbox.dir().join("sistem.dead"), letter.replace('\n', "") + "\n").unwrap();
    };
    assert_no_panic(again, || sandbox.command("lbctl", args));
}

#[rstest]
#[case(&["e2e", "--workers", "2", "--input", "a;4"])]
#[case(&["e2e", "--workers", "2", "--input", "a;4", "--json"])]
#[case(&["verify", "sistem.log"])]
#[case(&["inspect"])]
fn of_each_task(#[case] args: &[&str]) {
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.log_path(), include_str!("sample.log")).unwrap();
    let command = || {
        let mut command = xtask::xtask(args);
        if args[0] == "e2e" {
            command.arg("--programs").arg(Binaries::build(Profile::Dev).directory());
        }
        command.current_dir(sandbox.dir());
        command
    };
    assert_no_panic(|| {}, command);
}

/// What clap prints cannot fail.
#[rstest]
#[case(&["--help"], 0)]
#[case(&["--version"], 0)]
#[case(&["nonsense"], 2)]
fn of_usage(#[case] args: &[&str], #[case] code: i32) {
    let sandbox = Sandbox::default();
    for is_full in [false, true] {
        let dev_full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let command = sandbox.command("lbctl", args);
        assert_eq!(run(command, is_full, dev_full).status.code(), Some(code));
    }
}
