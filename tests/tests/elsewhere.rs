//! The log used from where its ledger cannot be seen: refused before anything is accepted. And a directory whose
//! path names another one by now: the one that is open goes on.
#![forbid(unsafe_code)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::grammar::rotation::WorkerId;
use common::instance::role::Role;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Ended, Process, Sandbox, in_namespace};

/// Runs a program in an IPC namespace of its own, as in a container that shares the directory only. Nothing
/// where that is not allowed.
fn run_elsewhere(sandbox: &Sandbox, program: &str, arg: &str) -> Option<Ended> {
    let mut command = Command::new("unshare"); // of util-linux
    command.arg("--ipc").arg(sandbox.command(program, &[]).get_program()).arg(arg);
    command.current_dir(sandbox.dir()).stdin(std::process::Stdio::null());
    let mut process = sandbox.start_command(command, &format!("unshare --ipc {program} {arg}"));
    let ended = sandbox.end(&mut process);
    if ended.stderr.contains("Operation not permitted") {
        eprintln!("skipped: needs CAP_SYS_ADMIN");
        return None;
    }
    Some(ended)
}

fn drain(sandbox: &Sandbox, balancer: &mut Process) {
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(balancer);
    sandbox.assert_code(&ended, 0);
}

/// Two containers with one volume, and an IPC namespace each. The client's submission was accepted in a second
/// ledger, of which the service never learned; and the advice that the next one gave cut it out of the log.
#[rstest]
fn a_client_in_another_ipc_namespace_was_accepted_for_nobody(
    #[values(false, true)] in_a_session: bool,
) {
    let sandbox = Sandbox::default();
    let mut service = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(3));
    if in_a_session {
        sandbox.ok("client", &["first;1"]);
    }
    let before = sandbox.log().matches("Message from client").count();
    for (program, arg) in [("client", "Halo B;1"), ("loadbalancer", "3"), ("worker", "4")] {
        let Some(ended) = run_elsewhere(&sandbox, program, arg) else { return };
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("in another IPC namespace"), "{ended:#?}");
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(sandbox.log().matches("Message from client").count(), before);
    // Who only looks gets an answer, too.
    let Some(ended) = run_elsewhere(&sandbox, "lbctl", "status") else { return };
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("in another IPC namespace"), "{ended:#?}");
    let Some(ended) = run_elsewhere(&sandbox, "lbctl", "inspect") else { return };
    let seen: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let why = seen["state"]["error"].as_str().unwrap();
    assert!(why.contains("in another IPC namespace"), "{ended:#?}");
    // The service is none the worse for it.
    sandbox.ok("client", &["Halo A;9"]);
    let executed = || sandbox.log().matches(": message received\n").count();
    sandbox.wait_until("all is executed", || executed() == 9 + before);
    drain(&sandbox, &mut service);
    sandbox.assert_clean();
}

/// Whoever comes first is where the session is.
#[test]
fn a_balancer_beside_a_worker_of_another_ipc_namespace_is_refused() {
    let sandbox = Sandbox::default();
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("it has its role", || sandbox.has_worker(1));
    let Some(ended) = run_elsewhere(&sandbox, "loadbalancer", "1") else { return };
    sandbox.assert_code(&ended, 3);
    worker.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut worker), 143);
    sandbox.assert_clean();
}

/// A session that was begun in one namespace and finished in another leaves a ledger that knows nothing of
/// that. The advice was to cut off what had been accepted since.
#[test]
fn advice_beside_a_ledger_that_was_left_behind_cut_off_what_was_accepted() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["first;1"]);
    let Some(ended) = run_elsewhere(&sandbox, "client", "second;1") else { return };
    sandbox.assert_code(&ended, 0);
    let refused = sandbox.run("client", &["third;1"]);
    sandbox.assert_code(&refused, 3);
    assert!(!refused.stderr.contains("truncate"), "{refused:#?}");
    let advice = format!("`ipcrm -m {}`", sandbox.segment().unwrap());
    assert!(refused.stderr.contains(&advice), "{refused:#?}");
    // As it says.
    sandbox.ipc_objects().into_iter().for_each(tests::IpcObject::remove);
    sandbox.ok("client", &["third;1"]);
    sandbox.ok("loadbalancer", &["2"]);
    sandbox.assert_log(&canonical_log(&[("first", 1), ("second", 1), ("third", 1)], 2));
    sandbox.assert_clean();
}

/// Which namespace it is cannot be known.
#[test]
fn without_proc_nothing_is_accepted() {
    in_namespace("without_proc_nothing_is_accepted", CloneFlags::CLONE_NEWNS, || {
        let sandbox = Sandbox::default();
        mount(Some("none"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let ended = sandbox.run("client", &["Halo A;1"]);
        umount2("/proc", MntFlags::empty()).unwrap();
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("mount proc(5) at /proc"), "{ended:#?}");
        assert_eq!((ended.stdout.as_str(), sandbox.log().as_str()), ("", ""));
        sandbox.assert_clean();
    });
}

/// The log alone is a mount, in two directories: whose locks are one, and whose ledgers are two.
#[test]
fn a_log_that_is_used_through_another_directory_is_refused() {
    in_namespace("a_log_used_through_another_directory", CloneFlags::CLONE_NEWNS, || {
        let (sandbox, other) = (Sandbox::default(), Sandbox::default());
        let mut service = sandbox.start("loadbalancer", &["--serve", "3"]);
        sandbox.wait_until("it serves", || sandbox.has_worker(3));
        std::fs::write(other.log_path(), "").unwrap();
        let bind = MsFlags::MS_BIND;
        mount(Some(&sandbox.log_path()), &other.log_path(), None::<&str>, bind, None::<&str>)
            .unwrap();
        let refused = other.run("client", &["Halo A;1"]);
        umount2(&other.log_path(), MntFlags::MNT_DETACH).unwrap();
        other.assert_code(&refused, 3);
        assert!(refused.stderr.contains("through another directory"), "{refused:#?}");
        drain(&sandbox, &mut service);
        assert_eq!(sandbox.log(), "");
        sandbox.assert_clean();
    });
}

/// Through each name there would be another ledger.
#[test]
fn a_log_with_two_names_is_refused() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let second = sandbox.dir().join("second");
    std::fs::hard_link(sandbox.log_path(), &second).unwrap();
    for (program, arg) in [("client", "Halo B;1"), ("loadbalancer", "3"), ("worker", "1")] {
        let ended = sandbox.run(program, &[arg]);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("has 2 names"), "{ended:#?}");
    }
    std::fs::remove_file(second).unwrap();
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// `mv job job.old`, or `ln -sfn v2 current`: the worker that took a dead one's place was started in what the path
/// named by then.
#[rstest]
#[case::renamed(|root: &Path| std::fs::rename(root.join("job"), root.join("open")).unwrap())]
#[case::switched(|root: &Path| {
    std::fs::rename(root.join("job"), root.join("open")).unwrap();
    std::fs::create_dir(root.join("other")).unwrap();
    symlink("other", root.join("job")).unwrap();
})]
fn a_worker_was_replaced_in_another_directory(#[case] change: fn(&Path)) {
    let sandbox = Sandbox::default();
    let root: PathBuf = sandbox.dir();
    std::fs::create_dir(root.join("job")).unwrap();
    let mut service = sandbox.start("loadbalancer", &["--dir", "job", "--serve", "2"]);
    sandbox.ok("client", &["--dir", "job", "one;4"]);
    let log = || std::fs::read_to_string(root.join("open/sistem.log")).unwrap_or_default();
    sandbox.wait_until("worker 2 runs", || sandbox.spawned_worker(2).is_some());
    change(&root);
    let worker = sandbox.spawned_worker(2).unwrap();
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    sandbox.ok("client", &["--dir", "open", "two;4"]);
    sandbox.wait_until("all is executed", || log().matches(": message received\n").count() == 8);
    drain(&sandbox, &mut service);
    assert_eq!(log().lines().last(), Some("Worker 2: 4 messages"));
    std::fs::remove_dir_all(root.join("open")).unwrap();
    let _ = std::fs::remove_file(root.join("job"));
    if root.join("other").exists() {
        assert_eq!(std::fs::read_dir(root.join("other")).unwrap().count(), 0);
        std::fs::remove_dir(root.join("other")).unwrap();
    }
    sandbox.assert_clean();
}

/// Who may open the log may lock it, and so stopped its owner.
#[rstest]
fn a_log_that_others_could_open_let_them_stop_everybody(
    #[values("", "the last session\n")] contents: &str,
    #[values(0o644, 0o660, 0o666)] mode: u32,
) {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::default();
    let contents = if contents.is_empty() { String::new() } else { canonical_log(&[("x", 2)], 1) };
    std::fs::write(sandbox.log_path(), &contents).unwrap();
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(sandbox.log_path(), permissions.clone()).unwrap();
    // This test is somebody else, who has it open, and locked.
    let others = std::fs::File::open(sandbox.log_path()).unwrap();
    others.lock().unwrap();
    sandbox.ok("client", &["Halo A;10"]);
    let is_closed = || sandbox.log_path().metadata().unwrap().mode() & 0o777 == 0o600;
    assert!(is_closed());
    // In the middle of a session it stays the same file.
    let inode = sandbox.log_path().metadata().unwrap().ino();
    std::fs::set_permissions(sandbox.log_path(), permissions).unwrap();
    sandbox.ok("loadbalancer", &["3"]);
    assert!(is_closed());
    assert_eq!(sandbox.log_path().metadata().unwrap().ino(), inode);
    sandbox.assert_log(&format!("{contents}{}", include_str!("sample.log")));
    sandbox.assert_clean();
}

/// The log was made readable under a running service. Its private copy took its place, without the locks that showed
/// the service: a client in another namespace was accepted for nobody, and a second balancer pushed the
/// first one out.
#[test]
fn a_log_made_readable_under_a_service_let_others_in() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::default();
    let mut service = sandbox.start("loadbalancer", &["--serve", "2"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(2));
    let inode = || sandbox.log_path().metadata().unwrap().ino();
    let before = inode();
    let open = || {
        std::fs::set_permissions(sandbox.log_path(), PermissionsExt::from_mode(0o644)).unwrap();
    };
    open();
    let second = sandbox.run("loadbalancer", &["--serve", "2"]);
    sandbox.assert_code(&second, 3);
    open();
    if let Some(ended) = run_elsewhere(&sandbox, "client", "Halo B;1") {
        sandbox.assert_code(&ended, 3);
    }
    assert_eq!(inode(), before);
    sandbox.ok("client", &["Halo A;2"]);
    let executed = || sandbox.log().matches(": message received\n").count();
    sandbox.wait_until("all is executed", || executed() == 2);
    drain(&sandbox, &mut service);
    sandbox.assert_log(&canonical_log(&[("Halo A", 2)], 2));
    sandbox.assert_clean();
}

/// Many come at once to a log that others can open, and each wants to close it: one who was late left an empty
/// copy.
#[test]
fn a_log_is_closed_to_others_once_however_many_want_to() {
    for _ in 0..20 {
        let sandbox = Sandbox::default();
        std::fs::write(sandbox.log_path(), "").unwrap();
        std::fs::set_permissions(sandbox.log_path(), PermissionsExt::from_mode(0o644)).unwrap();
        let mut clients = [(); 8].map(|()| sandbox.start("client", &["Halo A;1"]));
        for client in &mut clients {
            sandbox.assert_code(&sandbox.end(client), 0);
        }
        sandbox.ok("loadbalancer", &["3"]);
        sandbox.assert_log(&canonical_log(&[("Halo A", 1); 8], 3));
        sandbox.assert_clean();
    }
}

/// Somebody's file under the name of the private copy was emptied, and became the log.
#[test]
fn a_file_in_the_way_of_a_private_copy_is_left_alone() {
    let sandbox = Sandbox::default();
    let [precious, copy] = ["precious", "sistem.log.private"].map(|name| sandbox.dir().join(name));
    std::fs::write(&precious, "precious").unwrap();
    std::fs::hard_link(&precious, &copy).unwrap();
    std::fs::write(sandbox.log_path(), "").unwrap();
    std::fs::set_permissions(sandbox.log_path(), PermissionsExt::from_mode(0o644)).unwrap();
    let ended = sandbox.run("client", &["Halo A;1"]);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("sistem.log.private: is in the way"), "{ended:#?}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    std::fs::remove_file(copy).unwrap();
    std::fs::remove_file(precious).unwrap();
    sandbox.ok("client", &["Halo A;1"]);
    sandbox.ok("loadbalancer", &["1"]);
    sandbox.assert_clean();
}

/// The length of the load balancer's lock is N; it is known before there is a session.
#[test]
fn a_worker_that_is_not_needed_ends_before_there_is_a_session() {
    let sandbox = Sandbox::default();
    let mut service = sandbox.start("loadbalancer", &["--serve", "--no-spawn", "2"]);
    sandbox.wait_until("it has its role", || sandbox.has_balancer());
    let ended = sandbox.run("worker", &["3"]);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains("worker 3 is not needed"), "{ended:#?}");
    assert!(!sandbox.is_held(Role::Worker(WorkerId::new(3).unwrap())));
    drain(&sandbox, &mut service);
    sandbox.assert_clean();
}
