//! As the first process of a container: signals, orphans, the exit code.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::Command;

use common::program::process_stat::ProcessStat;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::oracle::canonical_log;
use tests::{Process, Sandbox, status_field};

/// A command in a PID namespace of its own; nothing, after saying why, where that is not allowed.
fn in_container(name: &str, sandbox: &Sandbox, program: &Command) -> Option<Process> {
    let unshare = || {
        let mut unshare = Command::new("unshare"); // of util-linux
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare
    };
    if !unshare().arg("true").output().is_ok_and(|ended| ended.status.success()) {
        // Past the capture of the output: a test that did not run must be seen.
        let _ = writeln!(std::io::stderr(), "{name}: not run: needs unshare and CAP_SYS_ADMIN");
        return None;
    }
    let mut command = unshare();
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(sandbox.dir()).env("OUT", sandbox.out());
    Some(sandbox.start_command(command, "unshare --pid …"))
}

/// Processes whose parent is this one.
fn children(parent: i32) -> Vec<(Pid, ProcessStat)> {
    let pids = std::fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw)?;
        Some((pid, ProcessStat::of(pid)?))
    });
    pids.filter(|(_, stat)| stat.parent.as_raw() == parent).collect()
}

#[test]
fn signals_drain_it_orphans_are_reaped_and_its_exit_code_is_the_containers() {
    let sandbox = Sandbox::default();
    let script = "case $1 in dead) exit 65; esac";
    let work = ["sh", "-c", script, "sh", "{}"];
    let command = sandbox.with_work("loadbalancer", &["--serve", "2"], &work);
    let name = "signals_drain_it_orphans_are_reaped_and_its_exit_code_is_the_containers";
    let Some(mut container) = in_container(name, &sandbox, &command) else { return };
    sandbox.wait_until("the load balancer is there", || sandbox.has_balancer());
    let [(first, _)] = children(container.pid())[..] else { panic!("no child") };
    let is_first = status_field(first.as_raw(), "NSpid:").is_some_and(|pids| pids.ends_with("\t1"));
    assert!(is_first, "{}", sandbox.report());
    sandbox.assert_code(&sandbox.run("client", &["--wait", "done;3", "dead;1"]), 1);

    // What comes into the container beside it, and dies there after its parent, is PID 1's.
    let mut visitor = Command::new("nsenter"); // of util-linux
    visitor.args(["--target", &first.to_string(), "--pid", "sh", "-c"]);
    visitor.arg("(while ! [ -e $OUT/go ]; do sleep 0.01; done) & echo $! > $OUT/orphan");
    visitor.current_dir(sandbox.dir()).env("OUT", sandbox.out());
    let ended = sandbox.end(&mut sandbox.start_command(visitor, "nsenter"));
    sandbox.assert_code(&ended, 0);
    let workers = [1, 2].map(|k| sandbox.spawned_worker(k));
    let orphans = || {
        children(first.as_raw())
            .into_iter()
            .filter(|(pid, _)| !workers.contains(&Some(pid.as_raw())))
            .count()
    };
    sandbox.wait_until("it is an orphan", || orphans() == 1);
    sandbox.note("go");
    sandbox.wait_until("it is reaped", || orphans() == 0);

    kill(first, Signal::SIGTERM).unwrap();
    // Some messages were dead.
    sandbox.assert_code(&sandbox.end(&mut container), 1);
    let log = canonical_log(&[("done", 3), ("dead", 1)], 2);
    sandbox.assert_log(&log);
    assert_eq!(sandbox.take_letters().len(), 1);
    sandbox.assert_clean();
}
