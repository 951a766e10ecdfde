//! `lbctl watch` on a terminal: what it shows, and how it leaves the terminal.
#![forbid(unsafe_code)]

mod terminal;

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tests::{Process, Sandbox};
use unicode_width::UnicodeWidthStr;

use terminal::Terminal;

/// Fails once; then waits for a file that the test makes.
const SECOND_ATTEMPT_WAITS: &str =
    r#"[ "$LB_ATTEMPT" != 1 ] || exit 1; while [ ! -e "$OUT/go" ]; do sleep 0.01; done"#;

fn watch(sandbox: &Sandbox, columns: u16, rows: u16) -> Terminal {
    watch_with(sandbox, columns, rows, &[])
}

fn watch_with(sandbox: &Sandbox, columns: u16, rows: u16, env: &[(&str, &str)]) -> Terminal {
    let mut command = sandbox.command("lbctl", &["watch"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(env.iter().copied());
    Terminal::start(command, columns, rows)
}

/// A shell command line with `LBCTL` in it, run by a shell on a terminal.
fn shell(sandbox: &Sandbox, args: &[&str]) -> Terminal {
    let mut command = Command::new("bash");
    command.args(args).current_dir(sandbox.dir());
    command.env("TERM", "xterm-256color").env("PS1", "prompt> ").env("HISTFILE", "");
    command.env("LBCTL", sandbox.command("lbctl", &[]).get_program());
    Terminal::start(command, 80, 24)
}

/// A service with a COMMAND, in whose second attempts all three workers are.
fn at_second_attempts(sandbox: &Sandbox) -> Process {
    let args = ["--serve", "--retries", "3", "--backoff", "0s", "3"];
    let balancer = sandbox.start_work(&args, &["sh", "-c", SECOND_ATTEMPT_WAITS]);
    sandbox.ok("client", &["Halo A;10"]);
    for k in 1..=3 {
        sandbox.wait_until("a second attempt", || {
            sandbox.in_hand(k).is_some_and(|hand| hand.attempt == 2)
        });
    }
    balancer
}

fn drain(sandbox: &Sandbox, mut balancer: Process) {
    sandbox.note("go");
    let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
    sandbox.assert_code(&ended, 0);
}

fn quit(terminal: &mut Terminal) {
    terminal.keys("q");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.report());
}

/// No row is wider than the screen, or shorter where a box ends.
fn assert_boxes_are_whole(terminal: &Terminal) {
    let columns = usize::from(terminal.screen().size().1.get());
    for row in terminal.rows() {
        let is_in_box = row.starts_with(['│', '┌', '└']);
        let ends_it = row.ends_with(['│', '┐', '┘']) && row.width() == columns;
        assert!(!is_in_box || ends_it, "`{row}`\n{}", terminal.report());
    }
}

#[rstest]
#[case(80, 24)]
#[case(100, 30)]
#[case(160, 50)]
fn the_picture_shows_the_system(#[case] columns: u16, #[case] rows: u16) {
    let sandbox = Sandbox::default();
    let balancer = at_second_attempts(&sandbox);
    let mut terminal = watch(&sandbox, columns, rows);
    terminal.wait_for("(#message 10)");
    for station in ["clients", "ledger", "balancer", "workers", "log"] {
        assert!(terminal.shows(&format!("┌{station}─")), "{station}\n{}", terminal.report());
    }
    for counted in ["accepted", "backlog", "received", "executed", "logged"] {
        assert!(terminal.shows(&format!("{counted}┘")), "{counted}\n{}", terminal.report());
    }
    let counts: Vec<u64> =
        terminal.rows()[3].split(['│', ' ']).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(counts, [10, 10, 10, 0, 0], "{}", terminal.report());
    assert!(terminal.shows(&format!("│pid {}", balancer.pid())), "{}", terminal.report());
    assert!(terminal.shows("│3 of 3 "), "{}", terminal.report());
    for k in 1..=3 {
        let pid = sandbox.spawned_worker(k).unwrap().to_string();
        let row = terminal.rows().into_iter().find(|row| row.starts_with(&format!("│     {k} ")));
        let row = row.unwrap_or_else(|| panic!("no worker {k}\n{}", terminal.report()));
        for part in [&pid[..], "% ", "attempt 2, "] {
            assert!(row.contains(part), "{part}: `{row}`");
        }
    }
    assert_boxes_are_whole(&terminal);
    sandbox.note("go");
    terminal.wait_for("Worker1: message received");
    terminal.wait_until("all is executed", |terminal| {
        terminal.rows()[3].matches(" 10│").count() == 4 && !terminal.shows("attempt")
    });
    terminal.wait_until("the rate", |terminal| {
        terminal
            .rows()
            .iter()
            .any(|row| row.contains(" per second; at most ") && !row.contains("at most 0 "))
    });
    quit(&mut terminal);
    drain(&sandbox, balancer);
    sandbox.assert_clean();
}

#[rstest]
#[case(60, 20)]
#[case(40, 10)]
#[case(12, 4)]
#[case(1, 1)]
fn a_small_screen_shows_what_it_has_room_for(#[case] columns: u16, #[case] rows: u16) {
    let sandbox = Sandbox::default();
    let balancer = at_second_attempts(&sandbox);
    let mut terminal = watch(&sandbox, columns, rows);
    terminal.wait_until("a picture", |terminal| terminal.screen().alternate_screen());
    if columns >= 40 {
        terminal.wait_for("10 accepted ▶ 10 backlog");
        terminal.wait_for("attempt 2");
        assert_boxes_are_whole(&terminal);
    }
    quit(&mut terminal);
    drain(&sandbox, balancer);
    sandbox.assert_clean();
}

/// Without what changes by itself.
fn settled(terminal: &Terminal) -> Vec<String> {
    terminal.rows().into_iter().filter(|row| !row.contains("per second")).collect()
}

#[test]
fn another_size_is_drawn_without_remains() {
    let sandbox = Sandbox::default();
    fs::write(sandbox.log_path(), include_str!("sample.log")).unwrap();
    let mut terminal = watch(&sandbox, 80, 24);
    terminal.wait_for("Worker 3: 3 messages");
    for (columns, rows) in [(140, 45), (50, 12), (100, 30), (80, 24)] {
        let mut fresh = watch(&sandbox, columns, rows);
        fresh.wait_until("a picture", |fresh| fresh.shows("Nothing is going on here"));
        terminal.resize(columns, rows);
        terminal.wait_until("the same as on a fresh screen", |terminal| {
            settled(terminal) == settled(&fresh)
        });
        quit(&mut fresh);
    }
    quit(&mut terminal);
    sandbox.assert_clean();
}

#[rstest]
#[case::q(Err("q"), 0)]
#[case::escape(Err("\x1b"), 0)]
#[case::control_c(Err("\x03"), 0)]
#[case::interrupt(Ok(Signal::SIGINT), 130)]
#[case::terminate(Ok(Signal::SIGTERM), 143)]
#[case::hang_up(Ok(Signal::SIGHUP), 129)]
fn the_terminal_is_left_as_it_was(#[case] by: Result<Signal, &str>, #[case] code: i32) {
    let sandbox = Sandbox::default();
    // exec: the shell does nothing for the terminal afterwards.
    let mut terminal =
        shell(&sandbox, &["-c", "printf 'before\\r\\n'; read -r; exec $LBCTL watch"]);
    terminal.wait_for("before");
    let settings = terminal.settings();
    terminal.keys("\n");
    terminal.wait_for("Nothing is going on here");
    assert!(terminal.screen().alternate_screen() && terminal.screen().hide_cursor());
    assert_ne!(terminal.settings(), settings);
    match by {
        Ok(signal) => terminal.signal(signal),
        Err(keys) => terminal.keys(keys),
    }
    assert_eq!(terminal.end().code(), Some(code), "{}", terminal.report());
    assert_eq!(terminal.settings(), settings);
    assert!(!terminal.screen().alternate_screen() && !terminal.screen().hide_cursor());
    assert_eq!(terminal.screen().contents(), "before", "{}", terminal.report());
    assert_eq!(terminal.screen().cursor_position(), (2, 0));
    sandbox.assert_clean();
}

/// `crossterm` read for ever from a terminal that was closed; and `nohup` keeps the signal away.
#[rstest]
fn a_closed_terminal_ends_it(#[values("", "trap '' HUP; ")] before: &str) {
    let sandbox = Sandbox::default();
    let mut terminal = shell(&sandbox, &["-c", &format!("{before}exec $LBCTL watch")]);
    terminal.wait_for("Nothing is going on here");
    terminal.close();
    let code = terminal.end().code();
    // Or it was at the picture in that moment.
    assert!(code == Some(129) || (code == Some(3) && !before.is_empty()), "{code:?}");
    sandbox.assert_clean();
}

#[test]
fn a_shell_can_suspend_it_and_have_it_go_on() {
    let sandbox = Sandbox::default();
    let mut terminal = shell(&sandbox, &["--norc", "--noprofile", "-i"]);
    terminal.wait_for("prompt> ");
    terminal.keys("echo before; $LBCTL watch\n");
    for suspend in ["\x1a", "kill"] {
        terminal.wait_for("Nothing is going on here");
        assert!(terminal.screen().hide_cursor());
        if suspend == "kill" {
            let watch = sandbox.processes().into_iter().find(|pid| *pid != terminal.pid()).unwrap();
            kill(Pid::from_raw(watch), Signal::SIGTSTP).unwrap();
        } else {
            terminal.keys(suspend);
        }
        terminal.wait_for("Stopped");
        assert!(terminal.shows("before") && !terminal.shows("Nothing is"), "{}", terminal.report());
        assert!(!terminal.screen().alternate_screen() && !terminal.screen().hide_cursor());
        terminal.keys("clear; echo before; fg\n");
    }
    terminal.wait_for("Nothing is going on here");
    terminal.keys("q");
    terminal.wait_until("the prompt", |terminal| !terminal.screen().alternate_screen());
    terminal.keys("exit\n");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.report());
    sandbox.assert_clean();
}

/// Without a shell nobody would have it go on.
#[test]
fn it_is_not_suspended_where_there_is_no_shell() {
    let sandbox = Sandbox::default();
    let mut terminal = watch(&sandbox, 80, 24);
    terminal.wait_for("Nothing is going on here");
    terminal.keys("\x1a");
    quit(&mut terminal);
    sandbox.assert_clean();
}

#[test]
fn many_workers_are_moved_through() {
    let sandbox = Sandbox::default();
    let balancer = sandbox.start("loadbalancer", &["--serve", "256"]);
    sandbox.wait_until("all workers are there", || (1..=256).all(|k| sandbox.has_worker(k)));
    sandbox.ok("client", &["Halo A;256"]);
    let mut terminal = watch(&sandbox, 80, 24);
    terminal.wait_for("│256 of 256 ");
    let shown = |terminal: &Terminal| {
        let rows = terminal.rows();
        let title = rows.iter().find(|row| row.contains("queues and workers")).unwrap();
        let numbers = title.split(' ').filter_map(|word| word.parse().ok());
        let rows =
            rows.iter().filter_map(|row| row.get("│".len()..)?.get(..6)?.trim().parse().ok());
        (numbers.collect::<Vec<u32>>(), rows.collect::<Vec<u32>>())
    };
    let (title, rows) = shown(&terminal);
    let page = u32::try_from(rows.len()).unwrap();
    assert!(page >= 4, "{}", terminal.report());
    assert_eq!(title, [1, page, 256], "{}", terminal.report());
    let mut expect = |keys: &str, first: u32| {
        terminal.keys(keys);
        terminal.wait_until(&format!("worker {first} first"), |terminal| {
            let expected: Vec<u32> = (first..first + page).collect();
            shown(terminal) == (vec![first, first + page - 1, 256], expected)
        });
    };
    expect("\x1b[B", 2);
    expect("j\x1bOB", 4);
    expect("\x1b[A", 3);
    expect("\x1b[6~", 3 + page);
    expect(" ", 3 + 2 * page);
    expect("\x1b[F", 257 - page);
    expect("j", 257 - page);
    expect("\x1b[5~", 257 - 2 * page);
    expect("\x1b[H", 1);
    quit(&mut terminal);
    drain(&sandbox, balancer);
    sandbox.assert_clean();
}

#[test]
fn colours_say_nothing_that_words_do_not() {
    let sandbox = Sandbox::default();
    fs::write(sandbox.log_path(), include_str!("sample.log")).unwrap();
    let picture = |env| {
        let mut terminal = watch_with(&sandbox, 80, 24, env);
        terminal.wait_for("Worker 3: 3 messages");
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        let cells = cells.filter_map(|(row, column)| terminal.screen().cell(row, column));
        let colours = cells.filter(|cell| cell.fgcolor() != vt100::Color::Default).count();
        let shown = settled(&terminal);
        quit(&mut terminal);
        (shown, colours)
    };
    let (coloured, some) = picture(&[]);
    let (plain, none) = picture(&[("NO_COLOR", "1")]);
    assert_eq!(coloured, plain);
    assert!(some > 0);
    assert_eq!(none, 0);
    sandbox.assert_clean();
}

/// Read-only memory, and no lock.
#[test]
fn it_cannot_change_what_it_looks_at() {
    let sandbox = Sandbox::default();
    let balancer = at_second_attempts(&sandbox);
    let mut terminal = watch(&sandbox, 80, 24);
    terminal.wait_for("attempt 2");
    let proc = format!("/proc/{}", terminal.pid());
    let maps = fs::read_to_string(format!("{proc}/maps")).unwrap();
    let shared: Vec<_> = maps.lines().filter(|line| line.contains("/SYSV")).collect();
    assert!(shared.len() == 1 && shared[0].contains(" r--s "), "{shared:?}");
    let mut files = Vec::new();
    for fd in fs::read_dir(format!("{proc}/fd")).unwrap() {
        let fd = fd.unwrap().file_name().into_string().unwrap();
        let info = fs::read_to_string(format!("{proc}/fdinfo/{fd}")).unwrap_or_default();
        assert!(!info.contains("lock:"), "{info}");
        let target = fs::read_link(format!("{proc}/fd/{fd}")).unwrap_or_default();
        if target.starts_with(sandbox.dir()) {
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            assert!(flags.ends_with('0'), "O_RDONLY: {} {flags}", target.display());
            files.push(target);
        }
    }
    assert!(files.contains(&sandbox.log_path()), "{files:?}");
    quit(&mut terminal);
    drain(&sandbox, balancer);
    sandbox.assert_clean();
}

/// Texts that need more or fewer columns than they have characters; and what only a foreign program writes.
#[test]
fn the_logs_lines_do_not_break_the_picture() {
    let sandbox = Sandbox::default();
    let long = "漢字".repeat(40);
    let texts = [
        &long[..],
        "ｗｉｄｅ e\u{301}\u{302} 👩‍👩‍👧 \u{200b}x",
        "\x1b[2J\x1b[31m\u{9b}7m\t\u{202e}\r\u{7}",
    ];
    let lines = texts.map(|text| format!("Received at lb: {text} (#message 7)\n"));
    fs::write(sandbox.log_path(), lines.concat()).unwrap();
    for (columns, rows) in [(80, 24), (81, 24), (40, 20)] {
        let mut terminal = watch(&sandbox, columns, rows);
        terminal.wait_for("The log ends inside a session");
        assert!(terminal.shows("(#message 7)"), "{}", terminal.report());
        if columns >= 80 {
            assert!(terminal.shows("Received at lb: 漢字"), "{}", terminal.report());
            assert!(terminal.shows("\\u{1b}[2J"), "{}", terminal.report());
        }
        assert_boxes_are_whole(&terminal);
        quit(&mut terminal);
    }
}

#[test]
fn it_goes_on_over_a_death_an_end_and_another_log() {
    let sandbox = Sandbox::default();
    let mut balancer = at_second_attempts(&sandbox);
    let mut terminal = watch(&sandbox, 80, 24);
    terminal.wait_for("attempt 2");
    balancer.kill();
    terminal.wait_for("│not running");
    terminal.wait_for("attempt 2 broke off");
    sandbox.note("go");
    let args = ["--retries", "9", "--backoff", "0s", "3"];
    let ended = sandbox.work(&args, &["sh", "-c", SECOND_ATTEMPT_WAITS]);
    sandbox.assert_code(&ended, 0);
    terminal.wait_for("no session");
    terminal.wait_for("Worker 3: 3 messages");
    fs::rename(sandbox.log_path(), sandbox.out().join("older")).unwrap();
    terminal.wait_until("no log", |terminal| !terminal.shows("Worker 3: 3 messages"));
    sandbox.ok("client", &["Halo B;1"]);
    terminal.wait_for("Message from client: Halo B");
    terminal.wait_for("The session waits for a load balancer");
    sandbox.ok("loadbalancer", &["1"]);
    terminal.wait_for("Worker 1: 1 messages");
    quit(&mut terminal);
    sandbox.assert_clean();
}

#[test]
fn what_cannot_be_looked_at_any_more_is_said_above_what_was_seen_last() {
    let sandbox = Sandbox::default();
    fs::write(sandbox.log_path(), include_str!("sample.log")).unwrap();
    let mut terminal = watch(&sandbox, 80, 24);
    terminal.wait_for("Worker 3: 3 messages");
    fs::remove_file(sandbox.log_path()).unwrap();
    fs::create_dir(sandbox.log_path()).unwrap();
    terminal.wait_for("is not a regular file");
    assert!(terminal.shows("┌balancer"), "{}", terminal.report());
    fs::remove_dir(sandbox.log_path()).unwrap();
    terminal.wait_until("a good look", |terminal| !terminal.shows("is not a regular file"));
    quit(&mut terminal);
    sandbox.assert_clean();
}

#[test]
fn without_a_terminal_that_can_show_it_nothing_is_drawn() {
    let sandbox = Sandbox::default();
    let ended = sandbox.run("lbctl", &["watch"]);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains("`lbctl status`") && ended.stdout.is_empty(), "{ended:#?}");
    let mut terminal = watch_with(&sandbox, 80, 24, &[("TERM", "dumb")]);
    assert_eq!(terminal.end().code(), Some(2));
    assert!(terminal.shows("`lbctl status`"), "{}", terminal.report());
    let mut terminal = shell(&sandbox, &["-c", "exec $LBCTL watch --dir /nonexistent"]);
    assert_eq!(terminal.end().code(), Some(3));
    assert!(terminal.shows("lbctl: /nonexistent: "), "{}", terminal.report());
    assert!(!terminal.screen().alternate_screen());
    sandbox.assert_clean();
}
