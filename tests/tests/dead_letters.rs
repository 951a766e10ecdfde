//! `lbctl dead`: letters listed, shown, dropped, and submitted again exactly once, whatever gets killed.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use common::dead::settled::{self, Fate, Settled};
use common::dead::{self, Letter};
use common::grammar::message_id::MessageId;
use common::grammar::rotation::Workers;
use common::instance::Instance;
use common::instance::directory::Directory;
use common::instance::line_file::LineFile;
use common::session::aside;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::{canonical_log, submissions};
use tests::{Ended, IpcObject, Sandbox, in_namespace, killed_at};

const TEXT: &str = "a text; with \"quotes\" and é";

fn letter(message: u64, text: &str) -> Letter {
    Letter {
        id: MessageId { session: 0xab, message },
        text: text.to_owned(),
        index: 7,
        worker: 2,
        attempts: 3,
        outcome: "exit status: 1".to_owned(),
        stderr: "first\nsecond\n".to_owned(),
        begun: "2026-01-02T03:04:05Z".to_owned(),
        died: "2026-01-02T03:04:06Z".to_owned(),
    }
}

fn bury(sandbox: &Sandbox, letters: &[Letter]) {
    let file = LineFile::open(&Directory::open(&sandbox.dir()).unwrap(), dead::NAME).unwrap();
    for letter in letters {
        file.append(letter, false).unwrap();
    }
}

fn id(message: u64) -> String {
    letter(message, "").id.to_string()
}

fn lbctl(sandbox: &Sandbox, args: &[&str], code: i32) -> Ended {
    let ended = sandbox.run("lbctl", &[&["dead"], args].concat());
    sandbox.assert_code(&ended, code);
    ended
}

fn listed(sandbox: &Sandbox) -> Vec<String> {
    let list = lbctl(sandbox, &["list"], 0).stdout;
    list.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Nothing is left but the log, those that were set aside, and what is known of the dead.
fn assert_clean(sandbox: &Sandbox) {
    let mut left = sandbox.leftovers();
    left.retain(|left| !left.starts_with("file sistem."));
    assert_eq!(left, [""; 0], "something is left{}", sandbox.report());
}

#[test]
fn letters_are_listed_once_and_shown() {
    let sandbox = Sandbox::default();
    let evil = Letter { outcome: "\x1b[2J".to_owned(), ..letter(2, "b\u{202e}") };
    let letters = [letter(1, TEXT), letter(0, "a"), letter(1, TEXT), evil];
    bury(&sandbox, &letters);
    let list = lbctl(&sandbox, &["list"], 0);
    assert_eq!(
        list.stdout,
        "00000000000000ab-2  worker 2  3 attempts  exit status: 1  2026-01-02T03:04:06Z  a text; with \"quotes\" \
         and é\n\
         00000000000000ab-1  worker 2  3 attempts  exit status: 1  2026-01-02T03:04:06Z  a\n\
         00000000000000ab-3  worker 2  3 attempts  \\u{1b}[2J  2026-01-02T03:04:06Z  b\\u{202e}\n"
    );
    assert_eq!(list.stderr, "");
    let json = lbctl(&sandbox, &["list", "--json"], 0).stdout;
    let read = json.lines().map(|line| serde_json::from_str::<Letter>(line).unwrap());
    assert!(read.eq([letters[0].clone(), letters[1].clone(), letters[3].clone()]), "{json}");
    let shown = lbctl(&sandbox, &["show", &id(1)], 0).stdout;
    for part in ["nothing was done about it", TEXT, "index     7", "    first\n    second\n"] {
        assert!(shown.contains(part), "{shown}");
    }
    let unknown = lbctl(&sandbox, &["show", &id(9)], 2);
    assert!(unknown.stderr.contains(&id(9)), "{unknown:#?}");
    // Whoever only looks makes nothing.
    assert_eq!(sandbox.leftovers(), ["file sistem.dead"]);
    assert!(!sandbox.log_path().exists());
}

#[test]
fn where_nobody_died_there_is_nothing_to_do() {
    let sandbox = Sandbox::default();
    for args in [&["list"][..], &["list", "--json"], &["retry", "--all"], &["drop", "--all"]] {
        let ended = lbctl(&sandbox, args, 0);
        assert_eq!((ended.stdout, ended.stderr), (String::new(), String::new()));
    }
    assert!(lbctl(&sandbox, &["retry", &id(0)], 2).stderr.contains(&id(0)));
    for args in [&["retry"][..], &["retry", "x"], &["drop", "--all", &id(0)], &["show"], &[]] {
        lbctl(&sandbox, args, 2);
    }
    let ended = lbctl(&sandbox, &["list", "--dir", "/nonexistent"], 3);
    assert!(ended.stderr.contains("/nonexistent"), "{ended:#?}");
    assert_eq!(std::fs::read_dir(sandbox.dir()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_read_is_named_and_passed_over() {
    let sandbox = Sandbox::default();
    bury(&sandbox, &[letter(0, "a")]);
    let mut file = File::options().append(true).open(sandbox.dir().join(dead::NAME)).unwrap();
    let at = file.metadata().unwrap().len();
    file.write_all(b"{\"id\":\n{\"id\":\"half").unwrap();
    let half_at = at + 7;
    bury(&sandbox, &[letter(1, "b")]);
    std::fs::write(sandbox.dir().join(settled::NAME), "hello\n").unwrap();
    let list = lbctl(&sandbox, &["list"], 0);
    assert_eq!(list.stdout.lines().count(), 2, "{list:#?}");
    assert_eq!(
        list.stderr,
        format!(
            "lbctl: ./sistem.dead.settled: the line at byte 0 cannot be read; passed over\n\
             lbctl: ./sistem.dead: the line at byte {at} cannot be read; passed over\n\
             lbctl: ./sistem.dead: the line at byte {half_at} cannot be read; passed over\n"
        )
    );
}

#[test]
fn letters_are_dropped_and_submitted_again_once() {
    let sandbox = Sandbox::default();
    bury(&sandbox, &[letter(0, "a"), letter(1, TEXT), letter(2, "c"), letter(3, "d")]);
    assert_eq!(lbctl(&sandbox, &["drop", &id(0)], 0).stdout, format!("dropped {}\n", id(0)));
    assert_eq!(listed(&sandbox), [id(1), id(2), id(3)]);
    let retried = lbctl(&sandbox, &["retry", &id(1), &id(8), &id(2)], 1);
    let expected = format!("accepted {TEXT};1 (was {})\naccepted c;1 (was {})\n", id(1), id(2));
    assert_eq!(retried.stdout, expected);
    assert!(retried.stderr.contains(&id(8)), "{retried:#?}");
    // Again: what is so already is said, and no failure; what became something else is one.
    for (args, code) in [
        (["drop", &id(0)], 0),
        (["retry", &id(1)], 0),
        (["retry", &id(0)], 2),
        (["drop", &id(1)], 2),
    ] {
        let ended = lbctl(&sandbox, &args, code);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains(" before"), "{ended:#?}");
    }
    for (message, state) in [(0, "dropped"), (1, "retried"), (3, "nothing was done")] {
        assert!(lbctl(&sandbox, &["show", &id(message)], 0).stdout.contains(state));
    }
    assert_eq!(lbctl(&sandbox, &["drop", "--all"], 0).stdout, format!("dropped {}\n", id(3)));
    assert!(listed(&sandbox).is_empty());
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(&canonical_log(&[(TEXT, 1), ("c", 1)], 3));
    assert_clean(&sandbox);
}

#[test]
fn a_text_that_is_none_is_left_out() {
    let sandbox = Sandbox::default();
    bury(&sandbox, &[letter(0, "two\nlines"), letter(1, "b")]);
    let ended = lbctl(&sandbox, &["retry", "--all"], 1);
    assert!(ended.stderr.contains(&id(0)) && ended.stderr.contains("U+000A"), "{ended:#?}");
    assert_eq!(submissions(&sandbox.log()), ["b;1"]);
}

/// Standard output is a full disk, or a pipe that nobody reads.
#[test]
fn output_that_goes_nowhere() {
    let sandbox = Sandbox::default();
    let letters: Vec<_> = (0..2000).map(|message| letter(message, &"x".repeat(100))).collect();
    bury(&sandbox, &letters);
    std::fs::write(sandbox.log_path(), include_str!("sample.log")).unwrap();
    let id = id(0);
    for args in [
        &["dead", "list"][..],
        &["dead", "list", "--json"],
        &["dead", "show", &id],
        &["inspect"],
        &["inspect", "--all"],
        &["verify", "sistem.log"],
        &["verify", "--json", "sistem.log"],
        &["dead", "drop", &id],
    ] {
        for is_full in [true, false] {
            let mut command = sandbox.command("lbctl", args);
            let output = if is_full {
                Stdio::from(File::options().write(true).open("/dev/full").unwrap())
            } else {
                Stdio::from(std::io::pipe().unwrap().1)
            };
            let output = command.stdout(output).stderr(Stdio::piped()).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            if is_full {
                assert_eq!(output.status.code(), Some(3), "{args:?}: {stderr}");
                assert!(stderr.contains("standard output: No space left"), "{args:?}: {stderr}");
            } else {
                assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
            }
            assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        }
    }
}

/// What failed for good with one COMMAND is done by another one.
#[test]
fn what_a_worker_gave_up_is_submitted_again() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;3"]);
    let balancer = sandbox.run("loadbalancer", &["2", "--", "false"]);
    sandbox.assert_code(&balancer, 1);
    assert_eq!(listed(&sandbox).len(), 3);
    let retried = lbctl(&sandbox, &["retry", "--all"], 0).stdout;
    assert_eq!(retried.matches("accepted Halo A;1 (was ").count(), 3, "{retried}");
    sandbox.ok("loadbalancer", &["2", "--", "true"]);
    assert!(listed(&sandbox).is_empty());
    assert_eq!(sandbox.sessions().len(), 2);
    assert_clean(&sandbox);
}

/// What is there when a `retry` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// An unfinished session.
    Session,
}

/// What happens between its death and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// A client submits the very same.
    Client,
    /// The session is finished, if there is one; and that of a client which submits the very same.
    End,
    /// All IPC objects are gone, as after a reboot; then a client submits the very same, and they are gone once more.
    RebootClientReboot,
    /// The unfinished session is set aside.
    Fresh,
    /// The letter is dropped, unless it was submitted.
    Drop,
    /// The next one is killed as well: at so many calls from there.
    Killed(usize),
}

fn has_session(sandbox: &Sandbox) -> bool {
    sandbox.ledger().is_some_and(|ledger| ledger.is_published())
}

fn reboot(sandbox: &Sandbox) {
    sandbox.ipc_objects().into_iter().for_each(IpcObject::remove);
}

/// Kills a `retry` at its system call number `at`, lets that happen, and repeats it. Returns whether there was
/// such a call.
fn dies_at(before: Before, between: Between, at: usize) -> bool {
    let sandbox = Sandbox::default();
    bury(&sandbox, &[letter(0, TEXT)]);
    if before == Before::Session {
        sandbox.ok("client", &["before;1"]);
    }
    let retry = sandbox.command("lbctl", &["dead", "retry", &id(0)]);
    let dead = sandbox.dir().join(dead::NAME);
    let ended = killed_at(&retry, &dead, at);
    assert!(matches!(ended, None | Some(0)), "call {at}: {ended:?}{}", sandbox.report());

    let (mut expected, mut is_dropped) = (1, false);
    let mut client = || {
        sandbox.ok("client", &[&format!("{TEXT};1")]);
        expected += 1;
    };
    match between {
        Between::Client => client(),
        Between::End => {
            if has_session(&sandbox) {
                sandbox.ok("loadbalancer", &["2"]);
            }
            client();
            sandbox.ok("loadbalancer", &["2"]);
        }
        Between::RebootClientReboot => {
            reboot(&sandbox);
            client();
            reboot(&sandbox);
        }
        Between::Fresh => {
            let instance = Instance::open(&sandbox.dir()).unwrap();
            aside::set_aside(&instance, Workers::new(2).unwrap(), false).unwrap();
        }
        Between::Drop => {
            let ended = sandbox.run("lbctl", &["dead", "drop", &id(0)]);
            is_dropped = ended.status.success();
            expected -= usize::from(is_dropped);
        }
        Between::Killed(later) => {
            let ended = killed_at(&retry, &dead, at + later);
            assert!(matches!(ended, None | Some(0)), "call {at}: {ended:?}{}", sandbox.report());
        }
    }
    let again = lbctl(&sandbox, &["retry", &id(0)], if is_dropped { 2 } else { 0 });
    let in_all = [sandbox.log_path(), sandbox.dir().join("sistem.log.1")].map(|path| {
        let log = std::fs::read_to_string(path).unwrap_or_default();
        submissions(&log).iter().filter(|text| **text == format!("{TEXT};1")).count()
    });
    let seen = in_all.iter().sum::<usize>();
    let report = || format!("call {at}, {before:?}, {between:?}: {again:#?}{}", sandbox.report());
    assert_eq!(seen, expected, "{}", report());
    let fate = Settled::find(&Directory::open(&sandbox.dir()).unwrap())
        .unwrap()
        .unwrap()
        .fate(letter(0, "").id);
    let expected = if is_dropped { Fate::Dropped } else { Fate::Retried };
    assert_eq!(fate, Some(expected), "{}", report());
    // Which takes as long as all the rest.
    if at.is_multiple_of(5) {
        if has_session(&sandbox) {
            sandbox.ok("loadbalancer", &["2"]);
        }
        let _ = sandbox.sessions();
        assert_clean(&sandbox);
    }
    ended.is_none()
}

/// At each system call from the first look at the letters on: as it is entered, and as it is left.
#[rstest]
fn a_retry_killed_at_any_system_call_submits_once(
    #[values(Before::Nothing, Before::Session)] before: Before,
    #[values(
        Between::Client,
        Between::End,
        Between::RebootClientReboot,
        Between::Fresh,
        Between::Drop,
        Between::Killed(9)
    )]
    between: Between,
) {
    let calls = (0..1000).take_while(|&at| dies_at(before, between, at)).count();
    assert!((61..1000).contains(&calls), "{calls} calls");
}

/// Whoever is second finds a letter retried.
#[test]
fn several_at_once_submit_each_letter_once() {
    const LETTERS: u64 = 40;
    let sandbox = Sandbox::default();
    bury(&sandbox, &(0..LETTERS).map(|message| letter(message, TEXT)).collect::<Vec<_>>());
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    let input = format!("{TEXT};1\n").repeat(LETTERS as usize);
    let mut running = vec![sandbox.start_with_input("client", &[], input.as_bytes())];
    running.extend((0..3).map(|_| sandbox.start("lbctl", &["dead", "retry", "--all"])));
    let ended: Vec<_> = running.iter_mut().map(|process| sandbox.end(process)).collect();
    let mut accepted = 0;
    for ended in &ended {
        sandbox.assert_code(ended, 0);
        accepted += ended.stdout.matches(" (was ").count();
    }
    assert_eq!(accepted as u64, LETTERS, "{ended:#?}");
    assert!(listed(&sandbox).is_empty());
    sandbox.wait_until("it heeds signals", || sandbox.has_balancer());
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    assert_eq!(submissions(&sandbox.log()).len() as u64, 2 * LETTERS);
    let _ = sandbox.sessions();
    assert_clean(&sandbox);
}

/// Kill -9 again and again, while sessions come and go and a client submits the same.
#[test]
fn killed_again_and_again_while_sessions_end() {
    const LETTERS: u64 = 60;
    let sandbox = Sandbox::default();
    bury(&sandbox, &(0..LETTERS).map(|message| letter(message, TEXT)).collect::<Vec<_>>());
    let (mut by_clients, mut kills) = (0, 0);
    loop {
        let left = listed(&sandbox).len();
        let mut retry = sandbox.start("lbctl", &["dead", "retry", "--all"]);
        let mut balancer = sandbox.start("loadbalancer", &["2"]);
        sandbox.wait_until("some are settled, or all", || {
            retry.stdout().lines().count() > kills % 3 || !retry.is_running()
        });
        retry.kill();
        kills += 1;
        sandbox.ok("client", &[&format!("{TEXT};1")]);
        by_clients += 1;
        // It may have ended before the client came.
        sandbox.assert_code(&sandbox.end(&mut balancer), 0);
        if !sandbox.ipc_objects().is_empty() {
            sandbox.ok("loadbalancer", &["2"]);
        }
        if left == 0 {
            break;
        }
    }
    assert!(kills > 3, "{kills} kills");
    assert_eq!(submissions(&sandbox.log()).len() as u64, LETTERS + by_clients);
    let _ = sandbox.sessions();
    assert_clean(&sandbox);
}

/// Nobody takes what is in the ledger: it says so once, and a signal ends it. What it had submitted is retried.
#[test]
fn a_full_ledger_is_waited_for() {
    let sandbox = Sandbox::default();
    let text = "x".repeat(4096);
    bury(&sandbox, &(0..300).map(|message| letter(message, &text)).collect::<Vec<_>>());
    let mut retry = sandbox.start("lbctl", &["dead", "retry", "--all"]);
    sandbox.wait_until("it waits", || retry.stderr().contains("waiting: the ledger is full"));
    retry.signal(Signal::SIGINT);
    let ended = sandbox.end(&mut retry);
    assert!(!ended.status.success(), "{ended:#?}");
    let accepted = ended.stdout.lines().count();
    assert_eq!(listed(&sandbox).len(), 300 - accepted);

    let mut retry = sandbox.start("lbctl", &["dead", "retry", "--all"]);
    sandbox.wait_until("it waits", || retry.stderr().contains("waiting: the ledger is full"));
    sandbox.ok("loadbalancer", &["3"]);
    let ended = sandbox.end(&mut retry);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    assert_eq!(submissions(&sandbox.log()).len(), 300);
    assert!(listed(&sandbox).is_empty());
    assert_clean(&sandbox);
}

/// A session that takes no more: the next one is waited for.
#[test]
fn a_closing_session_is_waited_for() {
    let sandbox = Sandbox::default();
    bury(&sandbox, &[letter(0, TEXT)]);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    let mut worker = sandbox.start("worker", &["1"]);
    sandbox.wait_until("it is ready", || sandbox.has_worker(1));
    sandbox.stop(worker.pid());
    sandbox.ok("client", &["a;1"]);
    sandbox.wait_for_log(canonical_log(&[("a", 1)], 1).find("Worker1").unwrap() as u64);
    let ledger = sandbox.ledger().unwrap();
    // The balancer closes the session when it is asked to end.
    balancer.signal(Signal::SIGTERM);
    sandbox.wait_until("it closes", || ledger.cursors().unwrap().is_closing());
    let mut retry = sandbox.start("lbctl", &["dead", "retry", &id(0)]);
    sandbox.wait_until("it waits", || retry.stderr().contains("the session before is ending"));
    worker.signal(Signal::SIGCONT);
    for process in [&mut retry, &mut worker, &mut balancer] {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.ok("loadbalancer", &["1"]);
    sandbox.assert_log(&[canonical_log(&[("a", 1)], 1), canonical_log(&[(TEXT, 1)], 1)].concat());
    assert_clean(&sandbox);
}

/// Nothing is accepted, marked, or left. There is room for so many pages more: what is appended to the file
/// about letters needs two, and the log two, of which an earlier submission has one.
#[rstest]
fn a_full_disk_refuses(
    #[values(Before::Nothing, Before::Session)] before: Before,
    #[values(0, 1, 2)] room: usize,
) {
    in_namespace("a_full_disk_refuses", CloneFlags::CLONE_NEWNS, || {
        let mut sandbox = Sandbox::default();
        sandbox.set_room(1 << 20).unwrap();
        bury(&sandbox, &[letter(0, &"x".repeat(4090))]);
        if before == Before::Session {
            sandbox.ok("client", &["before;1"]);
        }
        let (log, pages) = (sandbox.log(), if before == Before::Session { 3 } else { 2 });
        sandbox.set_room((pages + room) << 12).unwrap();
        let ended = lbctl(&sandbox, &["retry", &id(0)], 3);
        assert!(ended.stderr.contains("not accepted"), "{ended:#?}");
        assert_eq!(ended.stderr.contains("sistem.dead.settled"), room < 2, "{ended:#?}");
        assert_eq!(listed(&sandbox), [id(0)]);
        assert_eq!(sandbox.log(), log);
        if before == Before::Nothing {
            assert_clean(&sandbox);
        }
        sandbox.set_room(1 << 20).unwrap();
        assert_eq!(lbctl(&sandbox, &["retry", &id(0)], 0).stderr, "");
        sandbox.ok("loadbalancer", &["2"]);
        let retried =
            submissions(&sandbox.log()).iter().filter(|text| text.starts_with('x')).count();
        assert_eq!(retried, 1);
        assert!(listed(&sandbox).is_empty());
        assert_clean(&sandbox);
    });
}

/// As a client, it is refused where its submission would not be executed.
#[test]
fn from_another_ipc_namespace_nothing_is_submitted() {
    let sandbox = Sandbox::default();
    bury(&sandbox, &[letter(0, TEXT)]);
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "2"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(2));
    let mut command = sandbox.command("lbctl", &["dead", "retry", "--all"]);
    let mut ended = None;
    in_namespace(
        "from_another_ipc_namespace_nothing_is_submitted",
        CloneFlags::CLONE_NEWIPC,
        || {
            let output = command.output().unwrap();
            ended = Some((output.status.code(), String::from_utf8(output.stderr).unwrap()));
        },
    );
    if let Some((code, stderr)) = ended {
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains("in use in another IPC namespace"), "{stderr}");
    }
    assert_eq!(listed(&sandbox), [id(0)]);
    sandbox.wait_until("it heeds signals", || sandbox.has_balancer());
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    assert_eq!(sandbox.log(), "");
    assert_clean(&sandbox);
}
