//! As a service: what is said to the manager (`sd_notify(3)`), and what the programs' children do not see of it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Process, Sandbox};

/// Half of it is how often a watchdog is to be beaten.
const WATCHDOG: Duration = Duration::from_millis(200);
const OF_THE_MANAGER: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A service manager, as far as its socket goes.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.out().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, name: path.to_str().unwrap().to_owned() }
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let micros = WATCHDOG.as_micros().to_string();
        for (name, value) in OF_THE_MANAGER.into_iter().zip([&self.name, &micros]) {
            command.env(name, value);
        }
        command
    }

    fn start(&self, sandbox: &Sandbox, mut command: Command) -> Process {
        self.environment(&mut command);
        sandbox.start_command(command, "a service")
    }

    /// What comes within so long.
    fn receive(&self, limit: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        match self.socket.recv(&mut bytes) {
            Ok(len) => Some(String::from_utf8(bytes[..len].to_vec()).unwrap()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                None
            }
        }
    }

    /// Waits until this is said to it. Returns what was said before.
    fn wait_for(&self, sandbox: &Sandbox, line: &str) -> Vec<String> {
        let (start, mut before) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_secs(30) {
            for found in self.receive(Duration::from_secs(1)).unwrap_or_default().lines() {
                if found.starts_with(line) {
                    return before;
                }
                before.push(found.to_owned());
            }
        }
        panic!("never told: {line}; but {before:?}{}", sandbox.report());
    }
}

fn end(sandbox: &Sandbox, process: &mut Process, code: i32) {
    process.signal(Signal::SIGTERM);
    let ended = sandbox.end(process);
    sandbox.assert_code(&ended, code);
}

#[test]
fn it_is_ready_and_beats_until_it_stands_still() {
    let sandbox = Sandbox::default();
    let manager = Manager::new(&sandbox);
    let mut balancer = manager.start(&sandbox, sandbox.command("loadbalancer", &["--serve", "2"]));
    let before = manager.wait_for(&sandbox, "READY=1");
    // On a busy machine it beats before.
    assert!(before.iter().all(|line| line == "WATCHDOG=1"), "{before:?}");
    assert!(sandbox.has_balancer(), "{}", sandbox.report());
    // One that has just exec'ed has no arguments for a moment.
    sandbox.wait_until("its workers are started", || sandbox.spawned_worker(2).is_some());
    manager.wait_for(&sandbox, "STATUS=waiting for a submission");
    // Idle, and with something to do.
    for _ in 0..3 {
        manager.wait_for(&sandbox, "WATCHDOG=1");
    }
    let mut client = sandbox.start("client", &["--wait", "x;300000"]);
    manager.wait_for(&sandbox, "STATUS=");
    while client.is_running() {
        manager.wait_for(&sandbox, "WATCHDOG=1");
    }
    sandbox.assert_code(&sandbox.end(&mut client), 0);

    sandbox.stop(balancer.pid());
    while manager.receive(Duration::from_millis(1)).is_some() {}
    assert_eq!(manager.receive(3 * WATCHDOG), None, "it stands still");
    balancer.signal(Signal::SIGCONT);
    manager.wait_for(&sandbox, "WATCHDOG=1");
    balancer.signal(Signal::SIGTERM);
    manager.wait_for(&sandbox, "STOPPING=1");
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_clean();
}

/// The drain may take as long as COMMAND does, and the manager knows. COMMAND does not know of the manager.
#[test]
fn a_long_drain_asks_for_time() {
    let sandbox = Sandbox::default();
    let manager = Manager::new(&sandbox);
    let script = "env > $OUT/env; while ! [ -e $OUT/go ]; do sleep 0.01; done";
    let work = ["sh", "-c", script];
    let mut command = sandbox.with_work("loadbalancer", &["--serve", "1"], &work);
    command.envs(OF_THE_MANAGER[3..].iter().map(|name| (name, "1")));
    let mut balancer = manager.start(&sandbox, command);
    sandbox.ok("client", &["a;1"]);
    sandbox.wait_until("it is begun", || sandbox.in_hand(1).is_some());
    balancer.signal(Signal::SIGTERM);
    manager.wait_for(&sandbox, "STOPPING=1");
    let before = manager.wait_for(&sandbox, "STATUS=draining: 1 messages left");
    assert!(before.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=30000000"), "{before:?}");
    for _ in 0..2 {
        manager.wait_for(&sandbox, "EXTEND_TIMEOUT_USEC=30000000");
    }
    let worker = sandbox.spawned_worker(1).unwrap();
    let environ = fs::read_to_string(format!("/proc/{worker}/environ")).unwrap();
    sandbox.wait_for_noted("env", 1);
    let variables = environ.split('\0').map(str::to_owned).chain(sandbox.noted("env"));
    for variable in variables {
        let is_its = |name: &str| variable.starts_with(&format!("{name}="));
        assert!(!OF_THE_MANAGER.into_iter().any(is_its), "{variable}");
    }
    sandbox.note("go");
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    sandbox.assert_log(&canonical_log(&[("a", 1)], 1));
    sandbox.assert_clean();
}

#[test]
fn a_worker_by_hand_is_ready_once_it_has_its_role() {
    let sandbox = Sandbox::default();
    let name = format!("pipip-tests-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let manager = Manager { socket, name: format!("@{name}") };
    let mut worker = manager.start(&sandbox, sandbox.command("worker", &["1"]));
    manager.wait_for(&sandbox, "READY=1");
    assert!(sandbox.has_worker(1), "{}", sandbox.report());
    worker.signal(Signal::SIGTERM);
    manager.wait_for(&sandbox, "STOPPING=1");
    sandbox.assert_code(&sandbox.end(&mut worker), 143);
    sandbox.assert_clean();
}

/// Nobody reads what the socket holds, or it is gone; or the variable names none.
#[rstest]
#[case::that_does_not_read("notify")]
#[case::that_is_gone("gone")]
#[case::without_a_name("")]
fn a_manager(#[case] name: &str) {
    let sandbox = Sandbox::default();
    let manager = Manager::new(&sandbox);
    let mut command = sandbox.command("loadbalancer", &["--serve", "1"]);
    manager.environment(&mut command);
    let path = sandbox.out().join(name);
    // So often that the socket is full at once.
    command.env("WATCHDOG_USEC", "200");
    command.env("NOTIFY_SOCKET", if name.is_empty() { Path::new("") } else { &path });
    let mut balancer = sandbox.start_command(command, "loadbalancer --serve 1");
    sandbox.ok("client", &["--wait", "a;1000"]);
    end(&sandbox, &mut balancer, 0);
    sandbox.assert_log(&canonical_log(&[("a", 1000)], 1));
    sandbox.assert_clean();
}

/// Another process's watchdog is none of ours.
#[test]
fn a_watchdog_for_another_process_is_not_beaten() {
    let sandbox = Sandbox::default();
    let manager = Manager::new(&sandbox);
    let mut command = sandbox.command("loadbalancer", &["--serve", "1"]);
    manager.environment(&mut command).env("WATCHDOG_PID", "1");
    let mut balancer = sandbox.start_command(command, "loadbalancer --serve 1");
    manager.wait_for(&sandbox, "STATUS=");
    assert_eq!(manager.receive(2 * WATCHDOG), None);
    // Killed, it leaves no worker.
    kill(Pid::from_raw(balancer.pid()), Signal::SIGKILL).unwrap();
    sandbox.wait_until("all are gone", || !balancer.is_running() && sandbox.processes().is_empty());
}

/// What the unit files say, as far as systemd can tell without a machine that it runs.
#[test]
fn systemd_understands_the_unit() {
    let sandbox = Sandbox::default();
    let unit = include_str!("../../dist/systemd/pipip-loadbalancer@.service");
    // It looks whether the programs are there.
    let unit = ["loadbalancer", "lbctl"].into_iter().fold(unit.to_owned(), |unit, program| {
        let path = sandbox.command(program, &[]).get_program().to_str().unwrap().to_owned();
        unit.replace(&format!("/usr/bin/pipip-{program}"), &path)
    });
    let path = sandbox.out().join("pipip-loadbalancer@.service");
    fs::write(&path, unit).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(path.with_file_name("pipip-loadbalancer@x.service"));
    match command.output() {
        Ok(ended) => {
            // It also complains of units of this machine, which ours would be started with.
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(!said.contains("pipip-loadbalancer@"), "{said}");
        }
        // Past the capture of the output: a test that did not run must be seen.
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "systemd_understands_the_unit: not run: systemd-analyze: {error}"
            );
        }
    }
}
