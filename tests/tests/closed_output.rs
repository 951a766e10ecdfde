//! What `lbctl` prints where nobody reads, or nothing can be written: quiet, or an error; never a panic.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::process::{Output, Stdio};

use rstest::rstest;
use tests::Sandbox;

/// With standard output closed by its reader, or full.
fn run(sandbox: &Sandbox, args: &[&str], is_full: bool, stderr: impl Into<Stdio>) -> Output {
    let mut command = sandbox.command("lbctl", args);
    if is_full {
        command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
    } else {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
    }
    command.stderr(stderr).output().unwrap()
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
    again();
    let closed = run(&sandbox, args, false, Stdio::piped());
    assert_eq!((closed.status.code(), &closed.stderr[..]), (Some(0), &b""[..]), "{closed:?}");
    again();
    let full = run(&sandbox, args, true, Stdio::piped());
    assert_eq!(full.status.code(), Some(3), "{full:?}");
    let stderr = String::from_utf8_lossy(&full.stderr);
    assert!(stderr.contains("standard output: No space left on device"), "{stderr}");
    again();
    // Neither can be said.
    let dev_full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(run(&sandbox, args, true, dev_full).status.code(), Some(3));
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
        assert_eq!(run(&sandbox, args, is_full, dev_full).status.code(), Some(code));
    }
}
