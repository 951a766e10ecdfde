//! What messages advise can be pasted where they appear: they named another directory than `--dir` did.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::instance::role::Role;
use rstest::rstest;
use tests::{Binaries, Process, Profile, Sandbox};

const SAMPLE: &str = include_str!("sample.log");

/// A directory in the sandbox's, which is used from there by `--dir`.
struct Elsewhere {
    sandbox: Sandbox,
    dir: PathBuf,
    option: std::ffi::OsString,
}

impl Elsewhere {
    fn new(name: &[u8]) -> Self {
        let sandbox = Sandbox::default();
        let dir = sandbox.dir().join(OsStr::from_bytes(name));
        std::fs::create_dir(&dir).unwrap();
        let option = OsStr::from_bytes(&[b"--dir=", name].concat()).to_owned();
        Self { sandbox, dir, option }
    }

    fn start(&self, program: &str, args: &[&str]) -> Process {
        let mut command = self.sandbox.command(program, args);
        command.arg(&self.option);
        self.sandbox.start_command(command, program)
    }

    fn run(&self, program: &str, args: &[&str], code: i32) -> String {
        let ended = self.sandbox.end(&mut self.start(program, args));
        self.sandbox.assert_code(&ended, code);
        ended.stderr
    }

    /// Starts what is between backticks in a message and begins so.
    fn paste(&self, message: &str, begin: &str) -> Process {
        let mut advised = message.split('`').skip(1).step_by(2);
        let line = advised.find(|line| line.starts_with(begin));
        let line = line.unwrap_or_else(|| panic!("no `{begin}…` in {message}"));
        let mut command = Command::new("bash"); // which becomes the program
        let programs = Binaries::build(Profile::Dev).directory();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).env("PATH", path).current_dir(self.sandbox.dir());
        self.sandbox.start_command(command, line)
    }

    fn paste_and_end(&self, message: &str, begin: &str) {
        let ended = self.sandbox.end(&mut self.paste(message, begin));
        self.sandbox.assert_code(&ended, 0);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("sistem.log")).unwrap()
    }
}

#[rstest]
fn advice_was_for_another_directory(
    #[values(b"sub", b"my dir", b"it's $HOME", b"-x", b"line\nend", b"caf\xc3\xa9 \xff", b"~")]
    name: &[u8],
) {
    let elsewhere = Elsewhere::new(name);
    elsewhere.run("client", &["Halo A;10"], 0);
    let mut balancer = elsewhere.start("loadbalancer", &["--no-spawn", "3"]);
    let sandbox = &elsewhere.sandbox;
    sandbox.wait_until("workers are asked for", || balancer.stderr().contains("missing: 1-3"));
    let asked = balancer.stderr();
    balancer.kill();

    // Another N, which is refused because messages were received.
    sandbox.wait_until("they are received", || elsewhere.log().lines().count() == 12);
    let mut log = OpenOptions::new().append(true).open(elsewhere.dir.join("sistem.log")).unwrap();
    log.write_all(b"foreign\n").unwrap();
    let foreign = elsewhere.run("loadbalancer", &["4"], 3);
    elsewhere.paste_and_end(&foreign, "truncate -s ");
    let refused = elsewhere.run("loadbalancer", &["4"], 2);
    let commands = asked.split('`').filter(|command| command.starts_with("worker "));
    let mut workers: Vec<_> =
        commands.map(|command| elsewhere.paste(&format!("`{command}`"), "worker ")).collect();
    let instance = Instance::open(&elsewhere.dir).unwrap();
    let is_there = |k| instance.is_held_by_another(Role::Worker(WorkerId::new(k).unwrap()));
    sandbox.wait_until("they are there", || (1..=3).all(|k| is_there(k).unwrap()));
    elsewhere.paste_and_end(&refused, "loadbalancer ");
    for worker in &mut workers {
        sandbox.assert_code(&sandbox.end(worker), 0);
    }
    assert_eq!(elsewhere.log(), SAMPLE);

    // And what was refused is set aside.
    log.write_all(b"foreign\n").unwrap();
    let unreadable = elsewhere.run("loadbalancer", &["1"], 3);
    let mut fresh = elsewhere.paste(&unreadable, "loadbalancer ");
    sandbox.wait_until("it is set aside", || fresh.stderr().contains("is now in"));
    fresh.signal(nix::sys::signal::Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut fresh), 0);
    assert_eq!(elsewhere.log(), "");
    std::fs::remove_dir_all(&elsewhere.dir).unwrap();
    sandbox.assert_clean();
}
