//! The handlers in `worker/examples` that people copy: each one under `loadbalancer --lines`.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rstest::rstest;
use tests::Sandbox;

/// The command that runs one, or nothing if its interpreter is not installed.
fn handler(name: &str, interpreter: &[&str]) -> Option<Vec<String>> {
    if let Some(program) = interpreter.first() {
        let found =
            Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
        if !found.status.success() {
            // Past the capture of the output: a test that did not run must be seen.
            let _ = writeln!(std::io::stderr(), "{name}: not run: needs {program}");
            return None;
        }
    }
    let file = if interpreter.is_empty() {
        rust_example()
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/examples/handlers").join(name)
    };
    let words = interpreter.iter().map(|word| (*word).to_owned());
    Some(words.chain([file.to_str().unwrap().to_owned()]).collect())
}

fn rust_example() -> PathBuf {
    tests::built(&["-p", "worker", "--example", "answer"])
}

#[rstest]
#[case::posix_shell("handler.sh", &["sh"])]
#[case::bash("handler.sh", &["bash"])]
#[case::mawk("handler.awk", &["mawk", "-W", "interactive", "-f"])]
#[case::gawk("handler.awk", &["gawk", "-f"])]
#[case::python("handler.py", &["python3"])]
#[case::node("handler.js", &["node"])]
#[case::rust("answer.rs", &[])]
fn an_example_handler(#[case] name: &str, #[case] interpreter: &[&str]) {
    let Some(command) = handler(name, interpreter) else { return };
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    answers_under_a_load_balancer(&command);
    ends_with_its_input(&command);
}

fn answers_under_a_load_balancer(command: &[&str]) {
    let sandbox = Sandbox::default();
    let joblog = sandbox.out().join("joblog");
    let jobs = joblog.to_str().unwrap();
    let options = ["--serve", "--lines", "--retries", "1", "--backoff", "0.01", "--joblog", jobs];
    let mut balancer = sandbox.start_work(&[&options[..], &["3"]].concat(), command);
    let executed = || sandbox.log().matches(": message received\n").count();
    // One at a time: an answer that stays in a buffer is waited for.
    let single = [" two  blanks ", "back\\slash \\n %s", "it's \"quoted\" $HOME `id`", "-n 😀"];
    for (text, before) in single.iter().zip(0..) {
        sandbox.ok("client", &["--", &format!("{text};1")]);
        sandbox.wait_until("it is answered", || executed() > before);
    }
    let rest = [("never!", 2), ("busy", 4), ("plain", 2000)];
    sandbox.ok(
        "client",
        &rest.map(|(text, count)| format!("{text};{count}")).each_ref().map(|s| &s[..]),
    );
    balancer.signal(nix::sys::signal::Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 1);
    let letters = sandbox.take_letters();
    let dead: Vec<_> =
        letters.iter().map(|letter| (&letter.text[..], &letter.outcome[..])).collect();
    assert_eq!(dead, [("never!", "dead: it has a ! in it"); 2]);
    let exitvals: Vec<_> = sandbox.noted("joblog");
    let count = |exitval: &str| {
        exitvals.iter().filter(|line| line.split('\t').nth(6) == Some(exitval)).count()
    };
    assert_eq!([count("65"), count("75"), count("0")], [2, 4, 4 + 4 + 2000]);
    assert_eq!(sandbox.sessions()[0].messages, 4 + 2 + 4 + 2000);
    sandbox.assert_clean();
}

/// Without a load balancer: what it gets, what it answers, and that it ends by itself, with exit code 0.
fn ends_with_its_input(command: &[&str]) {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = process.spawn().unwrap();
    let input = "00000000000000ab-7\t1\t1\tfine\n00000000000000ab-8\t1\t2\tbusy\n";
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = process.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:#?}");
    let expected = "00000000000000ab-7\tok\n00000000000000ab-8\tretry\tbusy\n";
    assert_eq!(String::from_utf8_lossy(&ended.stdout), expected);
}
