//! The examples of README.md and docs/work.md that one can paste: each one is run as it is there.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Process, Sandbox};

const README: &str = include_str!("../../README.md");
const WORK: &str = include_str!("../../docs/work.md");

/// The shell code that follows these words.
fn example(document: &str, words: &str) -> String {
    block(document, words, "sh")
}

/// The block of this kind that follows these words.
fn block(document: &str, words: &str, kind: &str) -> String {
    let (_, behind) = document.split_once(words).unwrap_or_else(|| panic!("not there: {words}"));
    let (_, code) = behind.split_once(&format!("```{kind}\n")).expect("code");
    code.split_once("```").expect("its end").0.to_owned()
}

/// A shell in the sandbox's directory, with the programs in its PATH, and before them these scripts.
fn shell(sandbox: &Sandbox, code: &str, scripts: &[(&str, &str)]) -> Command {
    for (name, script) in scripts {
        // By another process: else what other tests start may have it open for a moment (ETXTBSY).
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod 700 "$0""#;
        let mut write_it = Command::new("sh");
        write_it.args(["-c", write]).arg(sandbox.out().join(name)).arg(script);
        assert!(write_it.status().unwrap().success());
    }
    let programs = PathBuf::from(sandbox.command("client", &[]).get_program());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [sandbox.out(), programs.parent().unwrap().to_owned()];
    let path = std::env::join_paths(paths.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-e", "-c", code]).env("PATH", path).env("OUT", sandbox.out());
    command.current_dir(sandbox.dir()).stdin(std::process::Stdio::null());
    command
}

fn start(sandbox: &Sandbox, code: &str, scripts: &[(&str, &str)]) -> Process {
    sandbox.start_command(shell(sandbox, code, scripts), "sh -e -c …")
}

fn remove(sandbox: &Sandbox, names: &[&str]) {
    for name in names {
        std::fs::remove_file(sandbox.dir().join(name)).unwrap();
    }
}

/// Each terminal begins in the clone, with the same line.
#[test]
fn by_hand_in_two_terminals() {
    let sandbox = Sandbox::default();
    let (home, clone) = (sandbox.out(), sandbox.out().join("clone"));
    std::fs::create_dir_all(clone.join("target")).unwrap();
    let programs = PathBuf::from(sandbox.command("client", &[]).get_program());
    symlink(programs.parent().unwrap(), clone.join("target/release")).unwrap();
    symlink(sandbox.dir(), home.join("halo")).unwrap();
    let terminal = |words: &str| {
        let code = example(README, "paste this line first") + &example(README, words);
        let mut command = Command::new("sh");
        command.args(["-e", "-c", &code]).env("HOME", &home).current_dir(&clone);
        sandbox.start_command(command, words)
    };
    let mut first = terminal("Terminal 1 starts");
    sandbox.wait_until("it says what it waits for", || first.stderr().contains("`client "));
    let second = sandbox.end(&mut terminal("Terminal 2 submits"));
    sandbox.assert_code(&second, 0);
    assert!(second.stdout.starts_with("accepted Halo A;10\n"), "{second:#?}");
    let first = sandbox.end(&mut first);
    sandbox.assert_code(&first, 0);
    assert!(first.stderr.contains("10 messages by 3 workers in "), "{first:#?}");
    // What it shows of the log is there, in that order.
    let look = sandbox.end(&mut terminal("Then look at the log"));
    sandbox.assert_code(&look, 0);
    assert!(look.stdout.contains("every message exactly once"), "{look:#?}");
    let shown = block(README, "Then look at the log", "text");
    let log = sandbox.log();
    assert!(look.stdout.starts_with(&log), "{look:#?}");
    let mut lines = log.lines();
    for line in shown.lines().filter(|line| *line != "...") {
        assert!(lines.any(|found| found == line), "{line}: {log}");
    }
    assert_eq!(lines.next(), None);
    sandbox.assert_clean();
}

#[test]
fn the_first_example() {
    let sandbox = Sandbox::default();
    let code = example(WORK, "# Do real work");
    assert_eq!(code, example(README, "## Real work"), "both show the same");
    let ended = sandbox.end(&mut start(&sandbox, &code, &[("sleep", ":")]));
    sandbox.assert_code(&ended, 0);
    let mut printed: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with('p')).collect();
    printed.sort_unstable();
    assert_eq!(printed, [4711, 4712, 4713].map(|n| format!("printing invoice {n}")));
    remove(&sandbox, &["jobs.tsv"]);
    sandbox.assert_clean();
}

#[test]
fn resize_pictures() {
    let sandbox = Sandbox::default();
    let pictures = ["a.jpg", "with blank.jpg", "-resize.jpg", "it's $(odd).jpg", "é;1.jpg"];
    for picture in pictures.iter().chain(&["broken.jpg"]) {
        std::fs::write(sandbox.dir().join(picture), picture).unwrap();
    }
    // It takes what ImageMagick's takes here: FILE -resize 50% FILE.
    let convert = r#"[ $# = 4 ] && [ "$2 $3" = "-resize 50%" ] || exit 2
        case $1 in */broken.jpg) echo "not a JPEG file" >&2; exit 1;; esac
        { printf 'small '; cat -- "$1"; } >"$4""#;
    let code = example(WORK, "**Resize pictures**");
    let ended = sandbox.end(&mut start(&sandbox, &code, &[("convert", convert)]));
    sandbox.assert_code(&ended, 1);
    for picture in pictures {
        let small = std::fs::read_to_string(sandbox.dir().join("small").join(picture)).unwrap();
        assert_eq!(small, format!("small {picture}"));
    }
    let [letter] = &sandbox.take_letters()[..] else { panic!("one letter{}", sandbox.report()) };
    assert_eq!((&letter.text[..], &letter.stderr[..]), ("broken.jpg", "not a JPEG file\n"));
    std::fs::remove_dir_all(sandbox.dir().join("small")).unwrap();
    remove(&sandbox, &pictures);
    remove(&sandbox, &["broken.jpg"]);
    sandbox.assert_clean();
}

/// Load balancer, workers and handlers are killed in the middle, again and again.
#[test]
fn import_lines_into_sqlite_exactly_once() {
    const LINES: usize = 400;
    let sandbox = Sandbox::default();
    // The same name twice is two people.
    let names: Vec<_> = (0..LINES).map(|i| format!("O'Neil \"{}\"; x", i / 2)).collect();
    std::fs::write(sandbox.dir().join("people.txt"), names.join("\n") + "\n").unwrap();
    let code = example(WORK, "**Import lines into SQLite**");
    let (prepare, last) = code.trim_end().rsplit_once('\n').unwrap();
    assert!(last.starts_with("loadbalancer "), "{last}");
    let ended = sandbox.end(&mut start(&sandbox, prepare, &[]));
    sandbox.assert_code(&ended, 0);
    let rows = |query: &str| {
        let python = "import sqlite3, sys
for row in sqlite3.connect('people.db', timeout=60).execute(sys.argv[1]): print(*row)";
        let mut command = Command::new("python3");
        command.args(["-c", python, query]).current_dir(sandbox.dir());
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // A line of the log is written after its message is counted.
    let executed = || sandbox.log().matches(": message received\n").count();
    let mut killed = 0;
    for round in 1..=6 {
        let mut balancer = start(&sandbox, &format!("exec {last}"), &[]);
        let far = LINES * round / 8;
        sandbox.wait_until("it is in the middle", || executed() >= far || !balancer.is_running());
        // The load balancer itself; else one that works for it, which it replaces.
        let victim = match round % 3 {
            0 => Some(balancer.pid()),
            1 => sandbox.spawned_worker(1),
            _ => sandbox.processes().into_iter().find(|pid| {
                let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                // python3 import.py, not a worker with that COMMAND.
                cmdline.ends_with(b"import.py\0") && cmdline.split(|&byte| byte == 0).count() == 3
            }),
        };
        killed += usize::from(
            victim.is_some_and(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()),
        );
        sandbox.wait_until("it goes on, or is gone", || {
            executed() > far + 10 || !balancer.is_running()
        });
        balancer.kill();
        sandbox.wait_until("its workers die with it", || {
            [1, 2].iter().all(|&k| sandbox.spawned_worker(k).is_none())
        });
    }
    assert!(killed > 0, "nothing was there to kill");
    let ended = sandbox.end(&mut start(&sandbox, last, &[]));
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.sessions()[0].messages, LINES as u64);
    assert_eq!(
        rows("SELECT count(*), count(DISTINCT id) FROM people"),
        format!("{LINES} {LINES}\n")
    );
    let stored: Vec<_> =
        rows("SELECT name FROM people ORDER BY name").lines().map(str::to_owned).collect();
    let mut expected = names;
    expected.sort();
    assert_eq!(stored, expected, "none is missing, and none is there twice");
    remove(&sandbox, &["people.txt", "people.db", "import.py"]);
    sandbox.assert_clean();
}

#[test]
fn call_a_program_that_fails_sometimes() {
    let sandbox = Sandbox::default();
    // It answers at the second try, and never for /c.
    let curl = r#"for url; do :; done; echo "$url $LB_ATTEMPT" >>"$OUT/calls"
        case $url in */c) echo "404" >&2; exit 100;; esac; [ "$LB_ATTEMPT" -gt 1 ]"#;
    let lbctl = r#"echo "$@" >>"$OUT/listed""#;
    let code = example(WORK, "**Call a slow program");
    let scripts = [("curl", curl), ("lbctl", lbctl)];
    let ended = sandbox.end(&mut start(&sandbox, &code, &scripts));
    sandbox.assert_code(&ended, 0);
    let calls: BTreeSet<_> = sandbox.noted("calls").into_iter().collect();
    let url = |rest: &str| format!("https://example.org/{rest}");
    assert_eq!(calls, ["a 1", "a 2", "b 1", "b 2", "c 1"].map(url).into());
    assert_eq!(sandbox.noted("listed"), ["dead list"]);
    assert_eq!(sandbox.take_letters().len(), 1);
    let jobs = std::fs::read_to_string(sandbox.dir().join("jobs.tsv")).unwrap();
    assert_eq!(jobs.lines().count(), 1 + 5);
    remove(&sandbox, &["jobs.tsv"]);
    sandbox.assert_clean();
}

/// What it says of exit codes and options is what the programs have.
#[test]
fn options_that_it_names_are_there() {
    let sandbox = Sandbox::default();
    let help = sandbox.ok("loadbalancer", &["--help"]).stdout;
    let (work, _) = WORK.split_once("## Compared").unwrap();
    let named = ["--lines", "--retries", "--backoff", "--timeout", "--grace", "--joblog"];
    for option in named {
        assert!(work.contains(option) && help.contains(option), "{option}");
    }
    for handler in ["handler.sh", "handler.awk", "handler.py", "handler.js"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../worker/examples/handlers");
        assert!(path.join(handler).exists(), "{handler}");
    }
    sandbox.assert_clean();
}
