//! COMMAND once per message: what it gets, what its end means, and that no two attempts are ever alive at once.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::dead::STDERR_LEN;
use common::grammar::message_id::MessageId;
use common::ledger::cell::HandState;
use common::program::process_stat::ProcessStat;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{IpcObject, Sandbox};

/// Shell: waits for a file that the test makes.
const WAIT_FOR_GO: &str = r#"while [ ! -e "$OUT/go" ]; do sleep 0.01; done"#;

/// Of `submissions`, each a text and a count.
fn submitted(submissions: &[(&str, u32)]) -> Sandbox {
    let sandbox = Sandbox::default();
    let lines: Vec<_> = submissions.iter().map(|(text, count)| format!("{text};{count}")).collect();
    let mut client = sandbox.start_with_input("client", &[], lines.join("\n").as_bytes());
    sandbox.assert_code(&sandbox.end(&mut client), 0);
    sandbox
}

/// Shell: the same as `is_alive`. A dead process that nobody has waited for yet is no harm.
const IS_ALIVE: &str = r#"
    is_alive() { { read -r _ _ state _ <"/proc/$1/stat"; } 2>/dev/null && [ "$state" != Z ]; }
"#;

/// Whether there is such a process that is not dead.
fn is_alive(pid: &str) -> bool {
    let stat = pid.parse().ok().map(Pid::from_raw).and_then(ProcessStat::of);
    stat.is_some_and(|stat| !stat.is_dead())
}

// What COMMAND gets.

#[test]
fn standard_input_is_the_text_a_newline_and_the_end() {
    let long = "é".repeat(2048);
    let texts = ["Halo A", " two  spaces ", &long, "it's \"quoted\" $HOME `id` \\n", "😀"];
    let sandbox = submitted(&texts.map(|text| (text, 1)));
    // cat ends at the end of its input only.
    let ended = sandbox.work_sh(&["2"], r#"cat >"$OUT/$LB_ID""#);
    sandbox.assert_code(&ended, 0);
    let files = std::fs::read_dir(sandbox.out()).unwrap().map(|entry| entry.unwrap().path());
    let ids = files.filter(|path| path.extension().is_none());
    let got: BTreeSet<_> = ids.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(got, texts.map(|text| format!("{text}\n")).into());
    sandbox.assert_clean();
}

#[test]
fn a_mark_is_replaced_only_where_it_is_the_whole_argument() {
    let sandbox = submitted(&[("Halo A", 2)]);
    let args = ["{}", "{#}", "{%}", "x{}", "{} ", "{{}}", "{#}{%}", "", "--", "-x", "{}"];
    let command = ["sh", "-c", r#"printf '<%s>' "$LB_ID" "$@" >>"$OUT/args"; echo >>"$OUT/args""#];
    let ended = sandbox.work(&["1"], &[&command[..], &["sh"], &args].concat());
    sandbox.assert_code(&ended, 0);
    let rest = "<x{}><{} ><{{}}><{#}{%}><><--><-x><Halo A>";
    for (line, index) in sandbox.noted("args").iter().zip(1..) {
        let (_, args) = line.split_once('>').unwrap();
        assert_eq!(args, format!("<Halo A><{index}><1>{rest}"));
    }
    assert_eq!(sandbox.noted("args").len(), 2);
    sandbox.assert_clean();
}

/// No shell sees it, and none of it becomes a mark.
#[rstest]
fn a_text_is_one_argument_whatever_stands_in_it(
    #[values(
        "$(touch made) `touch made`; touch made & | > made < made",
        "-n",
        "--help",
        "-",
        "--",
        "'\"\\",
        "  two   spaces  ",
        "* ? [a-z] ~ {a,b} !! #",
        "😀 é 日本",
        "{}",
        "{#}",
        "{%}",
        "LB_ID=x",
        "%s%n"
    )]
    text: &str,
) {
    let sandbox = submitted(&[(text, 1)]);
    let ended = sandbox.work(&["1"], &["printf", "<%s>", "{}", "{}"]);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, format!("<{text}><{text}>"));
    sandbox.assert_clean();
}

#[test]
fn an_id_names_the_message_and_stays_the_same_in_every_attempt() {
    let sandbox = submitted(&[("a", 2), ("b", 3)]);
    let script =
        r#"echo "$LB_ID $LB_INDEX $LB_WORKER $LB_ATTEMPT" >>"$OUT/env"; test "$LB_ATTEMPT" = 3"#;
    let options = ["--retries", "2", "--backoff", "0", "2"];
    sandbox.assert_code(&sandbox.work_sh(&options, script), 0);
    let mut seen: BTreeMap<MessageId, Vec<String>> = BTreeMap::new();
    for line in sandbox.noted("env") {
        let (id, rest) = line.split_once(' ').unwrap();
        seen.entry(id.parse().unwrap()).or_default().push(rest.to_owned());
    }
    let sessions: BTreeSet<_> = seen.keys().map(|id| id.session).collect();
    assert_eq!(sessions.len(), 1);
    let messages: Vec<_> = seen.keys().map(|id| id.message).collect();
    assert_eq!(messages, [0, 1, 2, 3, 4]);
    // Index and worker of each, in rotation.
    let each = ["1 1", "2 2", "1 1", "2 2", "3 1"];
    for (attempts, each) in seen.values().zip(each) {
        assert_eq!(*attempts, ["1", "2", "3"].map(|attempt| format!("{each} {attempt}")));
    }
    // Another session, other ids.
    sandbox.ok("client", &["a;1"]);
    sandbox.assert_code(&sandbox.work_sh(&["2"], r#"echo "$LB_ID" >"$OUT/next""#), 0);
    let next: MessageId = sandbox.noted("next")[0].parse().unwrap();
    assert!(!sessions.contains(&next.session) && next.message == 0, "{next}");
    sandbox.assert_clean();
}

#[test]
fn an_id_is_the_same_after_the_ledger_was_removed() {
    let sandbox = submitted(&[("Halo A", 4)]);
    let script =
        format!(r#"echo "$LB_INDEX $LB_ID" >>"$OUT/ids"; test $LB_INDEX = 1 || {WAIT_FOR_GO}"#);
    let mut balancer = sandbox.start_work(&["1"], &["sh", "-c", &script]);
    sandbox.wait_for_noted("ids", 2);
    // What ipcrm -m does.
    let objects = sandbox.ipc_objects().into_iter();
    let segments = objects.filter(|object| matches!(object, IpcObject::Segment { .. }));
    segments.for_each(IpcObject::remove);
    sandbox.assert_code(&sandbox.end(&mut balancer), 3);
    sandbox.wait_until("what it started is gone", || sandbox.processes().is_empty());
    sandbox.note("go");
    let ended = sandbox.work(&["1"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    assert!(ended.stderr.contains("resuming the session"), "{ended:#?}");
    let ids: BTreeSet<_> = sandbox.noted("ids").into_iter().collect();
    let indices: Vec<_> = ids.iter().map(|line| &line[..2]).collect();
    assert_eq!(indices, ["1 ", "2 ", "3 ", "4 "], "one id each: {ids:?}");
    sandbox.assert_log(&canonical_log(&[("Halo A", 4)], 1));
    sandbox.assert_clean();
}

#[test]
fn a_text_is_in_no_environment_variable() {
    let sandbox = submitted(&[("Geheim 4711", 3)]);
    let script = r#"tr '\0' '\n' </proc/$$/environ >>"$OUT/env"; export -p >>"$OUT/env""#;
    sandbox.assert_code(&sandbox.work_sh(&["3"], script), 0);
    let env = sandbox.noted("env");
    assert!(env.iter().any(|line| line.starts_with("LB_ID=")), "{env:#?}");
    assert!(!env.iter().any(|line| line.contains("4711")), "{env:#?}");
    sandbox.assert_clean();
}

#[test]
fn the_working_directory_is_the_balancers_and_not_that_of_the_log() {
    let sandbox = submitted(&[("Halo A", 2)]);
    let dir = sandbox.dir();
    let mut command = sandbox.with_work(
        "loadbalancer",
        &["--dir", dir.to_str().unwrap(), "2"],
        &["sh", "-c", "pwd -P"],
    );
    command.current_dir("/usr");
    let ended = sandbox.end(&mut sandbox.start_command(command, "loadbalancer --dir …"));
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "/usr\n/usr\n");
    sandbox.assert_clean();
}

#[test]
fn it_leads_a_process_group_of_its_own() {
    let sandbox = submitted(&[("Halo A", 2)]);
    // The fifth field; the second one, the name, has no blank here.
    let script = r#"read -r _ _ _ _ group _ </proc/$$/stat; test "$group" = $$"#;
    sandbox.assert_code(&sandbox.work_sh(&["2"], script), 0);
    sandbox.assert_clean();
}

/// Shell: notes its own descriptors and what they are. First all of them, with none open for that; a `$(…)` opens one.
const NOTE_DESCRIPTORS: &str = r#"
    all=; for fd in /proc/$$/fd/*; do [ ! -e "$fd" ] || all="$all ${fd##*/}"; done
    for fd in $all; do echo "$fd $(readlink "/proc/$$/fd/$fd")" >>"$OUT/fd"; done
    cat /proc/$$/fdinfo/* | cat >"$OUT/info"
"#;

#[rstest]
fn only_standard_streams_and_the_lock_of_its_attempt_are_open(#[values(false, true)] lines: bool) {
    let sandbox = submitted(&[("dead", 1), ("Halo A", 1)]);
    let joblog = sandbox.out().join("joblog");
    let options = ["--joblog", joblog.to_str().unwrap(), "--lines", "1"];
    let (options, rest) = if lines {
        (&options[..], r#"while read -r id rest; do printf '%s\tok\n' "$id"; done"#)
    } else {
        (&[options[0], options[1], "1"][..], r#"read -r text; test "$text" != dead"#)
    };
    let ended = sandbox.work_sh(options, &format!("{NOTE_DESCRIPTORS}{rest}"));
    sandbox.assert_code(&ended, i32::from(!lines));
    let noted = sandbox.noted("fd");
    let mut open: Vec<_> = noted.iter().filter_map(|line| line.split_once(' ')).collect();
    // Only those of the first message.
    open.truncate(
        open.iter().skip(1).position(|(fd, _)| *fd == "0").map_or(open.len(), |at| at + 1),
    );
    // What this test was given by whoever started it, and hands on.
    open.retain(|(fd, to)| {
        let own = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        ["0", "1", "2"].contains(fd) || own.ok().as_deref() != Some(Path::new(to))
    });
    open.sort_by_key(|(fd, _)| fd.parse::<u32>().unwrap());
    let [stdin, stdout, (two, _), lock] = open[..] else { panic!("{open:#?}") };
    assert!(stdin.0 == "0" && stdin.1.starts_with("pipe:"), "{open:#?}");
    assert_eq!((stdout.0, stdout.1.starts_with("pipe:")), ("1", lines), "{open:#?}");
    assert_eq!(two, "2");
    assert_eq!(Path::new(lock.1), sandbox.dir().canonicalize().unwrap().join("sistem.log"));
    let info = sandbox.noted("info");
    let lock_at = info.iter().position(|line| line.contains("OFDLCK") && line.contains("READ"));
    let before = &info[..lock_at.expect("the lock")];
    // Open for reading only: nobody damages the log through it.
    let flags = before.iter().rev().find_map(|line| line.strip_prefix("flags:")).unwrap();
    assert!(flags.ends_with('0'), "{info:#?}");
    let _ = sandbox.take_letters();
    sandbox.assert_clean();
}

#[rstest]
fn signals_are_as_a_program_expects_them(#[values(false, true)] lines: bool) {
    const SIGNALS: [Signal; 6] = [
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGALRM,
    ];
    let sandbox = submitted(&[("Halo A", 1)]);
    // Read by the shell itself: while another program runs, it may have them blocked.
    let script = r#"while read -r line; do echo "$line" >>"$OUT/status"; done </proc/$$/status
        test $# = 1 || while read -r id rest; do printf '%s\tok\n' "$id"; done"#;
    let options: &[&str] = if lines { &["--lines", "1"] } else { &["1"] };
    let args: &[&str] = if lines { &["sh"] } else { &["sh", "once"] };
    let work =
        sandbox.with_work("loadbalancer", options, &[&["sh", "-c", script][..], args].concat());
    // Its parent may have left anything.
    let mut command = std::process::Command::new("env");
    command.args(["--block-signal=TERM,USR1", "--ignore-signal=PIPE,XFSZ,CHLD"]);
    command.arg(work.get_program()).args(work.get_args());
    command.env("OUT", sandbox.out()).current_dir(sandbox.dir());
    let ended = sandbox.end(&mut sandbox.start_command(command, "env … loadbalancer"));
    sandbox.assert_code(&ended, 0);
    let status = sandbox.noted("status");
    let set = |name: &str| {
        let field = status.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(field.trim(), 16).unwrap()
    };
    assert_eq!(set("SigBlk:"), 0, "{status:#?}");
    for signal in SIGNALS {
        assert_eq!(set("SigIgn:") >> (signal as u32 - 1) & 1, 0, "{signal} is ignored");
    }
    sandbox.assert_clean();
}

#[rstest]
#[case::closes_it("exec 0<&-; echo done")]
#[case::reads_nothing("echo done")]
#[case::reads_a_part("head -c 1 >\"$OUT/part\"; echo done")]
#[case::is_gone_at_once("exec true")]
fn standard_input_need_not_be_read(#[case] script: &str) {
    let text = "x".repeat(4096);
    let sandbox = submitted(&[(&text, 10)]);
    let ended = sandbox.work_sh(&["3"], script);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(&canonical_log(&[(&text, 10)], 3));
    sandbox.assert_clean();
}

// What COMMAND prints.

#[test]
fn output_arrives_as_it_is() {
    let sandbox = submitted(&[("Halo A", 3)]);
    let script = r"printf 'a\0b\377\r\033[0m' ; printf 'no end' >&2";
    let stdout = sandbox.out().join("bytes");
    let work = sandbox.with_work("loadbalancer", &["--quiet", "1"], &["sh", "-c", script]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#""$@" >"$OUT/bytes""#, "sh"]).arg(work.get_program());
    command.args(work.get_args()).env("OUT", sandbox.out()).current_dir(sandbox.dir());
    let ended = sandbox.end(&mut sandbox.start_command(command, "loadbalancer >bytes"));
    sandbox.assert_code(&ended, 0);
    assert_eq!(std::fs::read(stdout).unwrap(), b"a\0b\xff\r\x1b[0m".repeat(3));
    assert_eq!(ended.stderr, "no end".repeat(3));
    sandbox.assert_clean();
}

/// Also through a pipe, where long writes are not in one piece (pipe(7)).
#[rstest]
fn outputs_of_three_workers_are_whole_and_unmixed(#[values(false, true)] piped: bool) {
    const PIECES: usize = 200;
    let sandbox = submitted(&[("Halo A", 30)]);
    let script = format!(
        r#"i=0; while [ $i -lt {PIECES} ]; do i=$((i+1)); printf '%s ' "$LB_INDEX"; printf '%s ' "$LB_INDEX" >&2
        done; echo; echo >&2"#
    );
    let work = sandbox.with_work("loadbalancer", &["--quiet", "3"], &["sh", "-c", &script]);
    let mut command = std::process::Command::new("sh");
    let how = if piped { r#"{ "$@" 2>&3 | cat; } 3>&1 >&4 | cat >&2"# } else { r#"exec "$@""# };
    command.args(["-c", &format!("exec 4>&1; {how}"), "sh"]).arg(work.get_program());
    command.args(work.get_args()).env("OUT", sandbox.out()).current_dir(sandbox.dir());
    let ended = sandbox.end(&mut sandbox.start_command(command, "loadbalancer"));
    sandbox.assert_code(&ended, 0);
    for output in [ended.stdout, ended.stderr] {
        let mut lines: Vec<_> = output.lines().collect();
        lines.sort_unstable();
        let mut expected: Vec<_> = (1..=30).map(|i| format!("{i} ").repeat(PIECES)).collect();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
    sandbox.assert_clean();
}

#[test]
fn a_megabyte_of_each_is_whole_and_unmixed() {
    const LEN: usize = 1_000_000;
    let sandbox = submitted(&[("Halo A", 9)]);
    let script = format!(
        r#"block() {{ head -c {LEN} /dev/zero | tr '\0' "$LB_INDEX"; echo; }}; block; block >&2"#
    );
    let ended = sandbox.work_sh(&["--quiet", "3"], &script);
    sandbox.assert_code(&ended, 0);
    for output in [ended.stdout, ended.stderr] {
        let is_whole =
            |line: &str| line.len() == LEN && line.bytes().all(|byte| byte == line.as_bytes()[0]);
        let firsts: BTreeSet<_> =
            output.lines().filter(|line| is_whole(line)).map(|line| &line[..1]).collect();
        assert_eq!(firsts.len(), 9, "some are not whole");
        assert_eq!(output.len(), 9 * (LEN + 1));
    }
    sandbox.assert_clean();
}

/// It waits until nothing came for 100 ms, anew after each piece.
#[test]
fn what_a_grandchild_prints_after_the_exit_is_there() {
    let sandbox = submitted(&[("Halo A", 1)]);
    let script = r#"
        (echo piece 0; : >"$OUT/begun"; i=0
         while [ $i -lt 5000 ]; do i=$((i+1)); echo "piece $i"; done) &
        while [ ! -e "$OUT/begun" ]; do :; done; echo exit"#;
    let ended = sandbox.work_sh(&["1"], script);
    sandbox.assert_code(&ended, 0);
    let pieces: Vec<_> = ended.stdout.lines().filter(|line| *line != "exit").collect();
    assert!(ended.stdout.contains("exit\n"));
    assert_eq!(pieces, (0..=5000).map(|i| format!("piece {i}")).collect::<Vec<_>>());
    sandbox.assert_clean();
}

/// A service, for example, that COMMAND has started: it holds the output, and nobody waits for that.
#[test]
fn what_lives_on_after_success_holds_up_nothing() {
    let sandbox = submitted(&[("Halo A", 6)]);
    let script = format!("({WAIT_FOR_GO}; sleep 1000) & echo $! >>\"$OUT/pids\"; echo done");
    let ended = sandbox.work_sh(&["2"], &script);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "done\n".repeat(6));
    sandbox.assert_log(&canonical_log(&[("Halo A", 6)], 2));
    let pids = sandbox.noted("pids");
    assert_eq!(pids.len(), 6);
    assert!(pids.iter().all(|pid| is_alive(pid)), "its work is done: nobody kills it");
    for pid in sandbox.processes() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
    sandbox.wait_until("they are gone", || sandbox.processes().is_empty());
    sandbox.assert_clean();
}

// What its end means.

#[rstest]
#[case::done("exit 0", 1, None)]
#[case::failed("exit 1", 2, Some("exit code 1"))]
#[case::temporary("exit 75", 2, Some("exit code 75"))]
#[case::qmails_temporary("exit 111", 2, Some("exit code 111"))]
#[case::xargs_stop("exit 255", 2, Some("exit code 255"))]
#[case::data_error("exit 65", 1, Some("exit code 65"))]
#[case::permanent("exit 100", 1, Some("exit code 100"))]
#[case::segmentation_fault("kill -SEGV $$", 2, Some("signal 11 (SIGSEGV)"))]
#[case::killed("kill -KILL $$", 2, Some("signal 9 (SIGKILL)"))]
fn an_end_means(#[case] end: &str, #[case] attempts: usize, #[case] dead: Option<&str>) {
    let sandbox = submitted(&[("first", 1), ("Halo A", 1), ("last", 3)]);
    let script = format!(
        r#"read -r text; [ "$text" = "Halo A" ] || exit 0
        echo "$LB_ID" >>"$OUT/attempts"; echo "why: $text" >&2; {end}"#
    );
    let ended = sandbox.work_sh(&["--retries", "1", "--backoff", "0", "2"], &script);
    sandbox.assert_code(&ended, i32::from(dead.is_some()));
    let noted = sandbox.noted("attempts");
    assert_eq!(noted.len(), attempts);
    let letters = sandbox.take_letters();
    assert_eq!(letters.len(), usize::from(dead.is_some()));
    for letter in letters {
        assert_eq!(letter.id.to_string(), noted[0]);
        assert_eq!((&letter.text[..], letter.index, letter.worker), ("Halo A", 1, 2));
        assert_eq!(letter.attempts as usize, attempts);
        assert_eq!(Some(&letter.outcome[..]), dead);
        assert_eq!(letter.stderr, "why: Halo A\n");
        let is_time = |time: &str| time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T";
        assert!(is_time(&letter.begun) && is_time(&letter.died), "{letter:?}");
        assert!(letter.begun <= letter.died, "{letter:?}");
        let said = format!("message {} is dead: {}", letter.id, letter.outcome);
        assert!(ended.stderr.contains(&said), "{ended:#?}");
        assert!(ended.stderr.contains("loadbalancer: 5 messages by 2 workers in "), "{ended:#?}");
        assert!(ended.stderr.ends_with(" s; 1 dead: see `lbctl dead list`\n"), "{ended:#?}");
    }
    // Whatever they ended with.
    sandbox.assert_log(&canonical_log(&[("first", 1), ("Halo A", 1), ("last", 3)], 2));
    sandbox.assert_clean();
}

#[test]
fn the_log_is_that_without_a_command() {
    let sandbox = submitted(&[("Halo A", 10)]);
    let script = r#"echo "Worker1: message received"; test $((LB_INDEX % 3)) != 0"#;
    let ended = sandbox.work_sh(&["3"], script);
    sandbox.assert_code(&ended, 1);
    sandbox.assert_log(include_str!("sample.log"));
    let dead: BTreeSet<_> = sandbox.take_letters().iter().map(|letter| letter.index).collect();
    assert_eq!(dead, [3, 6, 9].into());
    sandbox.assert_clean();
}

#[test]
fn the_end_of_a_long_standard_error_is_in_the_letter() {
    let sandbox = submitted(&[("Halo A", 1)]);
    let script = r"head -c 100000 /dev/zero | tr '\0' x >&2; echo end >&2; exit 65";
    let ended = sandbox.work_sh(&["1"], script);
    sandbox.assert_code(&ended, 1);
    assert!(ended.stderr.contains(&"x".repeat(100_000)), "all of it is printed");
    let [letter] = &sandbox.take_letters()[..] else { panic!("one letter") };
    assert_eq!(letter.stderr.len(), STDERR_LEN);
    assert!(letter.stderr.ends_with("xend\n"));
    sandbox.assert_clean();
}

#[test]
fn a_message_that_succeeds_in_time_is_not_dead() {
    let sandbox = submitted(&[("Halo A", 4)]);
    let script = r#"echo "$LB_INDEX:$LB_ATTEMPT"; test "$LB_ATTEMPT" -gt 2"#;
    let ended = sandbox.work_sh(&["--retries", "2", "--backoff", "0", "2"], script);
    sandbox.assert_code(&ended, 0);
    let mut printed: Vec<_> = ended.stdout.lines().collect();
    printed.sort_unstable();
    let all = ["1:1", "1:2", "1:3", "2:1", "2:2", "2:3", "3:1", "3:2", "3:3", "4:1", "4:2", "4:3"];
    assert_eq!(printed, all, "also what failed attempts print");
    sandbox.assert_clean();
}

/// Lower bounds only: a machine may be busy.
#[test]
fn pauses_double() {
    let sandbox = submitted(&[("Halo A", 1)]);
    // Since the machine's start, in hundredths of a second.
    let script = r#"cut -d ' ' -f 1 /proc/uptime >>"$OUT/times"; exit 1"#;
    let ended = sandbox.work_sh(&["--retries", "3", "--backoff", "0.2", "1"], script);
    sandbox.assert_code(&ended, 1);
    let times: Vec<f64> = sandbox.noted("times").iter().map(|time| time.parse().unwrap()).collect();
    assert_eq!(times.len(), 4);
    for (pair, least) in times.windows(2).zip([0.2, 0.4, 0.8]) {
        assert!(pair[1] - pair[0] > least - 0.02, "{times:?}");
    }
    let _ = sandbox.take_letters();
    sandbox.assert_clean();
}

#[test]
fn while_one_waits_for_its_retry_the_others_go_on() {
    let sandbox = submitted(&[("Halo A", 9)]);
    let script = r#"echo "$LB_INDEX" >>"$OUT/done"; test "$LB_INDEX" != 2"#;
    let options = ["--retries", "1", "--backoff", "1h", "3"];
    let mut balancer = sandbox.start_work(&options, &["sh", "-c", script]);
    // 5 and 8 are that worker's, too.
    sandbox.wait_for_noted("done", 7);
    sandbox.wait_until("it pauses", || {
        sandbox.in_hand(2).is_some_and(|hand| hand.state == HandState::Pausing)
    });
    let hand = sandbox.in_hand(2).unwrap();
    assert_eq!((hand.attempt, hand.failures, hand.deaths), (1, 1, 0));
    let done: BTreeSet<_> = sandbox.noted("done").into_iter().collect();
    assert_eq!(done, ["1", "2", "3", "4", "6", "7", "9"].map(str::to_owned).into());
    // It does not wait for the end of the pause.
    let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
    sandbox.assert_code(&ended, 143);
    sandbox.assert_code(&sandbox.work_sh(&["3"], "exit 0"), 0);
    sandbox.assert_log(&canonical_log(&[("Halo A", 9)], 3));
    sandbox.assert_clean();
}

#[rstest]
#[case::that_ends_when_it_is_asked("exec sleep 1000", "5")]
#[case::that_cleans_up(
    "trap 'echo cleaned >>\"$OUT/got\"; exit 0' TERM; while :; do sleep 0.01; done",
    "60"
)]
#[case::that_ignores_it("trap '' TERM; echo deaf >>\"$OUT/got\"; sleep 1000", "0.2")]
#[case::that_is_stopped("trap 'echo cleaned >>\"$OUT/got\"; exit 0' TERM; kill -STOP $$", "60")]
#[case::whose_child_ignores_it("(trap '' TERM; sleep 1000) & wait", "0.2")]
fn a_command_that_takes_too_long(#[case] script: &str, #[case] grace: &str) {
    let sandbox = submitted(&[("Halo A", 2)]);
    let script = format!("test $LB_INDEX = 2 || {{ echo early; {script}; }}");
    let ended = sandbox.work_sh(&["--timeout", "0.3", "--grace", grace, "2"], &script);
    sandbox.assert_code(&ended, 1);
    assert_eq!(ended.stdout, "early\n", "what it printed before is there");
    let [letter] = &sandbox.take_letters()[..] else { panic!("one letter") };
    assert_eq!((letter.index, &letter.outcome[..]), (1, "timed out after 300ms"));
    let noted = sandbox.noted("got");
    let expects = ["cleaned", "deaf"].into_iter().filter(|word| script.contains(word));
    assert_eq!(noted, expects.collect::<Vec<_>>());
    sandbox.assert_clean();
}

// Never two at a time.

/// Closes all descriptors. Only bash can close one above 9.
const CLOSE_ALL: &str =
    "for fd in /proc/$BASHPID/fd/*; do eval \"exec ${fd##*/}>&-\"; done 2>/dev/null;";

/// How a process can get away from COMMAND: it stays in the group, leaves that, or leaves the family; and it closes
/// what it inherited.
#[rstest]
fn what_is_left_of_a_failed_attempt_is_killed_before_the_next(
    #[values("&", "setsid_", "twice")] way: &str,
    #[values(false, true)] closes: bool,
    #[values("exit 1", "kill -9 $PPID; sleep 1000", "sleep 1000")] end: &str,
) {
    let sandbox = submitted(&[("Halo A", 1)]);
    let closes = if closes { CLOSE_ALL } else { "" };
    let stray = format!(
        r#"trap "" TERM HUP; {closes} echo $$ >"$OUT/stray.new"; mv "$OUT/stray.new" "$OUT/stray"
        while :; do sleep 0.01; done"#
    );
    let go = match way {
        "&" => r#"bash -c "$1" &"#,
        "setsid_" => r#"setsid bash -c "$1" &"#,
        _ => r#"(setsid bash -c "$1" &) & wait $!"#,
    };
    let script = format!(
        r#"{IS_ALIVE}
        if [ "$LB_ATTEMPT" = 1 ]; then
            {go}
            while [ ! -e "$OUT/stray" ]; do sleep 0.01; done
            {end}
        fi
        read -r stray <"$OUT/stray"
        if is_alive "$stray"; then echo alive >>"$OUT/second"; else echo dead >>"$OUT/second"; fi"#
    );
    // Its death is no failure, and needs no retry.
    let options = ["--retries", "1", "--backoff", "0", "--grace", "0.1", "--timeout", "5", "1"];
    let options = if end == "sleep 1000" {
        ["--retries", "1", "--backoff", "0", "--grace", "0.1", "--timeout", "0.5", "1"]
    } else {
        options
    };
    let ended = sandbox.work(&options, &["sh", "-c", &script, "sh", &stray]);
    let code = ended.status.code();
    // With a timeout so short, a busy machine may not come so far in the first attempt, nor in the second.
    if end != "sleep 1000" || code == Some(0) {
        sandbox.assert_code(&ended, 0);
        assert_eq!(sandbox.noted("second"), ["dead"], "{}", sandbox.report());
    }
    for stray in sandbox.noted("stray") {
        assert!(!is_alive(&stray), "{}", sandbox.report());
    }
    let _ = sandbox.take_letters();
    sandbox.assert_clean();
}

/// The worker dies with its balancer at once: nobody is left who could find a child of theirs. But what it holds, or
/// has in its environment.
#[rstest]
fn a_balancer_killed_while_a_command_runs_and_started_again(
    #[values(
        "itself",
        "a daemon",
        "without descriptors",
        "without environment",
        "a child without both",
        "a child without both that forks"
    )]
    who: &str,
) {
    let sandbox = submitted(&[("Halo A", 4)]);
    let waits = match who {
        // Whoever looks for what it has started, and then kills it, misses what it starts in between.
        "a child without both that forks" => {
            r#"echo $$ >>"$OUT/running"; for i in {1..2000}; do sleep 1000 & done; wait"#
        }
        _ => r#"echo $$ >>"$OUT/running"; while [ ! -e "$OUT/go" ]; do sleep 0.01; done"#,
    };
    let bare = r#"env -i OUT="$OUT" PATH="$PATH""#;
    let (before, closes) = match who {
        "without descriptors" => ("", CLOSE_ALL),
        "without environment" => (bare, ""),
        _ if who.starts_with("a child without both") => (bare, CLOSE_ALL),
        _ => ("", ""),
    };
    let daemon = format!("{before} setsid bash -c 'trap \"\" TERM HUP; {closes} {waits}'");
    let waits = match who {
        "itself" => waits.to_owned(),
        // Its parent is COMMAND.
        _ if who.starts_with("a child without both") => format!("{daemon} & wait"),
        _ => format!("({daemon} &) & while :; do sleep 0.01; done"),
    };
    let script = format!(
        r#"{IS_ALIVE}
        if [ $LB_INDEX != 2 ]; then echo $LB_INDEX >>"$OUT/done"
        elif [ $LB_ATTEMPT = 1 ]; then {waits}
        else read -r first <"$OUT/running"; ! is_alive $first || echo alive >>"$OUT/second"
            echo "$LB_ATTEMPT" >>"$OUT/second"
        fi"#
    );
    let mut balancer = sandbox.start_work(&["2"], &["sh", "-c", &script]);
    sandbox.wait_for_noted("running", 1);
    sandbox.wait_for_executed(1, 2);
    balancer.kill();
    let first = &sandbox.noted("running")[0];
    let ended = sandbox.work_sh(&["2"], &script);
    sandbox.assert_code(&ended, 0);
    assert!(!is_alive(first), "{}", sandbox.report());
    assert_eq!(sandbox.noted("second"), ["2"], "{}", sandbox.report());
    let mut done = sandbox.noted("done");
    done.sort();
    assert_eq!(done, ["1", "3", "4"], "what was counted is not done again");
    sandbox.assert_log(&canonical_log(&[("Halo A", 4)], 2));
    sandbox.assert_clean();
}

#[test]
fn a_message_of_which_the_worker_dies_is_dead_after_the_third_time() {
    let sandbox = submitted(&[("Halo A", 2), ("poison", 1), ("Halo B", 3)]);
    let script = r#"read -r text; echo "$text $LB_ATTEMPT" >>"$OUT/attempts"
        [ "$text" != poison ] || { kill -9 $PPID; exec sleep 1000; }"#;
    let ended = sandbox.work_sh(&["--retries", "10", "2"], script);
    sandbox.assert_code(&ended, 1);
    let mut poison = sandbox.noted("attempts");
    poison.retain(|line| line.starts_with("poison"));
    assert_eq!(poison, ["poison 1", "poison 2", "poison 3"]);
    let [letter] = &sandbox.take_letters()[..] else { panic!("one letter{}", sandbox.report()) };
    assert_eq!(
        (&letter.text[..], letter.index, letter.worker, letter.attempts),
        ("poison", 1, 1, 3)
    );
    assert_eq!(letter.outcome, "its worker died in it for the third time");
    assert_eq!(sandbox.noted("attempts").len(), 8, "the others once");
    sandbox.assert_log(&canonical_log(&[("Halo A", 2), ("poison", 1), ("Halo B", 3)], 2));
    sandbox.assert_clean();
}

/// Asked to, workers end what they have in hand. That is neither a failure nor a death: else, without retries,
/// the first abort would be the end of the message, and the third one in any case.
#[test]
fn aborts_count_neither_as_failures_nor_as_deaths() {
    let sandbox = submitted(&[("Halo A", 2)]);
    let script = format!(
        r#"trap 'echo $LB_ATTEMPT >>"$OUT/ended"; exit 1' TERM; echo $LB_ATTEMPT >>"$OUT/begun"; {WAIT_FOR_GO}"#
    );
    for attempt in 1..=4 {
        let mut balancer = sandbox.start_work(&["1"], &["sh", "-c", &script]);
        sandbox.wait_for_noted("begun", attempt);
        let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
        sandbox.assert_code(&ended, 143);
        assert_eq!(sandbox.processes(), [0; 0], "its COMMAND ends before it");
        assert_eq!(sandbox.noted("ended").len(), attempt, "and was asked to");
        let hand = sandbox.in_hand(1).unwrap();
        assert_eq!((hand.state, hand.attempt as usize), (HandState::Left, attempt));
        assert_eq!((hand.failures, hand.deaths), (0, 0));
    }
    sandbox.note("go");
    sandbox.assert_code(&sandbox.work_sh(&["1"], &script), 0);
    assert_eq!(sandbox.noted("begun"), ["1", "2", "3", "4", "5", "1"]);
    sandbox.assert_log(&canonical_log(&[("Halo A", 2)], 1));
    sandbox.assert_clean();
}

/// Drained, it finishes what was accepted; the COMMAND that runs is not disturbed.
#[test]
fn a_drain_leaves_the_command_in_peace() {
    let sandbox = submitted(&[("Halo A", 3)]);
    let script = format!(r#"echo $LB_INDEX >>"$OUT/begun"; {WAIT_FOR_GO}"#);
    let mut balancer = sandbox.start_work(&["--serve", "3"], &["sh", "-c", &script]);
    sandbox.wait_for_noted("begun", 3);
    balancer.signal(Signal::SIGTERM);
    sandbox.wait_until("it drains", || balancer.stderr().contains("draining: 3 messages left"));
    sandbox.note("go");
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    assert_eq!(sandbox.noted("begun").len(), 3);
    sandbox.assert_log(&canonical_log(&[("Halo A", 3)], 3));
    sandbox.assert_clean();
}

// A COMMAND that cannot be run.

#[rstest]
#[case::is_missing("./nope", "No such file or directory")]
#[case::is_not_in_path("no-such-program", "it is not in PATH")]
#[case::may_not_be_executed("./file", "chmod +x")]
#[case::is_a_directory("/tmp", "not a program")]
#[case::needs_a_dot("here", "write ./ in front")]
fn a_command_that(#[case] name: &str, #[case] says: &str) {
    let sandbox = submitted(&[("Halo A", 10)]);
    for (file, mode) in [("file", 0o600), ("here", 0o700)] {
        let path = sandbox.dir().join(file);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
    }
    for (program, number) in [("loadbalancer", "3"), ("worker", "1")] {
        let command = sandbox.with_work(program, &[number], &[name]);
        let ended = sandbox.end(&mut sandbox.start_command(command, program));
        sandbox.assert_code(&ended, 2);
        assert!(ended.stderr.contains(name) && ended.stderr.contains(says), "{ended:#?}");
    }
    for file in ["file", "here"] {
        std::fs::remove_file(sandbox.dir().join(file)).unwrap();
    }
    // Nothing was begun, and nothing is lost.
    sandbox.assert_code(&sandbox.work(&["3"], &["true"]), 0);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

/// It looks like a program until it is started; or says itself that it cannot be run, as shells and env(1) do. One
/// worker: of several, the others are interrupted at the end, which counts as an attempt.
#[rstest]
#[case::has_no_interpreter("#!/nonexistent\n", "No such file or directory")]
#[case::is_no_program("\x7fELF junk", "Exec format error")]
#[case::ends_with_127("#!/bin/sh\nno-such-program\n", "exit code 127")]
#[case::ends_with_126("#!/bin/sh\n/tmp\n", "exit code 126")]
fn a_command_that_cannot_be_run_consumes_nothing(
    #[case] content: &str,
    #[case] says: &str,
    #[values(false, true)] lines: bool,
) {
    let sandbox = submitted(&[("Halo A", 10)]);
    let program = sandbox.dir().join("program");
    // By another process: else what other tests start may have it open for a moment (ETXTBSY).
    let mut write = std::process::Command::new("sh");
    write.args(["-c", r#"printf %s "$1" >"$0" && chmod 700 "$0""#]).arg(&program).arg(content);
    assert!(write.status().unwrap().success());
    let lines: &[&str] = if lines { &["--lines", "1"] } else { &["1"] };
    let ended = sandbox.work(lines, &["./program"]);
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("cannot run ./program"), "{ended:#?}");
    assert!(ended.stderr.contains(says), "{ended:#?}");
    std::fs::remove_file(program).unwrap();
    assert_eq!(sandbox.take_letters(), [], "{ended:#?}");
    assert!(sandbox.segment().is_some(), "the session is unfinished");
    let ended = sandbox.work_sh(&["1"], r#"echo "$LB_ATTEMPT""#);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "1\n".repeat(10), "no attempt was counted");
    sandbox.assert_log(&canonical_log(&[("Halo A", 10)], 1));
    sandbox.assert_clean();
}

// Who waits for whom.

#[test]
fn a_slow_message_holds_up_nobody_but_its_own_worker() {
    let sandbox = submitted(&[("Halo A", 9)]);
    let script = format!(
        r#"echo "$LB_INDEX" >>"$OUT/begun"; [ $LB_INDEX != 2 ] || {WAIT_FOR_GO}; echo "$LB_INDEX" >>"$OUT/done""#
    );
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let mut balancer = sandbox.start_work(&["3"], &["sh", "-c", &script]);
    sandbox.wait_for_noted("begun", 7);
    sandbox.wait_for_noted("done", 6);
    let (worker, queues) = (sandbox.spawned_worker(2), sandbox.queues());
    // Longer than a worker without a COMMAND may are stopped.
    let start = Instant::now();
    sandbox.wait_until("four seconds are over", || start.elapsed() > Duration::from_secs(4));
    assert_eq!(sandbox.spawned_worker(2), worker, "it is not killed");
    assert!(worker.is_some());
    assert_eq!(format!("{:?}", sandbox.queues()), format!("{queues:?}"), "nothing is sent again");
    let hand = sandbox.in_hand(2).expect("it has the message in hand");
    assert_eq!((hand.state, hand.attempt), (HandState::Running, 1));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert!((before..=now - 3900).contains(&u128::from(hand.since_ms)), "{hand:?}");
    // The log waits for its line, the ledger does not.
    let log = canonical_log(&[("Halo A", 9)], 3);
    sandbox.assert_log(&log[..log.find("Worker2:").unwrap()]);
    assert_eq!(sandbox.in_hand(1), None, "{}", sandbox.report());
    sandbox.note("go");
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.lines().count(), 1, "nothing is complained of: {ended:#?}");
    let mut done = sandbox.noted("done");
    assert_eq!(&done[6..], ["2", "5", "8"]);
    done.sort();
    assert_eq!(done, (1..=9).map(|i| i.to_string()).collect::<Vec<_>>(), "each once");
    sandbox.assert_log(&log);
    sandbox.assert_clean();
}

#[test]
fn workers_with_a_command_can_be_started_by_hand() {
    let sandbox = submitted(&[("Halo A", 10)]);
    let script = r#"echo "$LB_WORKER:$LB_INDEX"; test "$LB_ATTEMPT" = 2"#;
    let options = ["--retries", "1", "--backoff", "0"];
    let worker = |k: &str| {
        let args = [&options[..], &[k]].concat();
        let command = sandbox.with_work("worker", &args, &["sh", "-c", script]);
        sandbox.start_command(command, &format!("worker {k} -- …"))
    };
    let mut workers = ["1", "2", "3"].map(worker);
    sandbox.ok("loadbalancer", &["--no-spawn", "3"]);
    let mine = [["1", "4", "7", "10"].as_slice(), &["2", "5", "8"], &["3", "6", "9"]];
    for (process, (k, mine)) in workers.iter_mut().zip((1..).zip(mine)) {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
        let twice: String = mine.iter().map(|i| format!("{k}:{i}\n").repeat(2)).collect();
        assert_eq!(ended.stdout, twice);
    }
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

// The log of jobs.

#[test]
fn the_joblog_has_the_columns_of_gnu_parallel() {
    const HEADER: &str =
        "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";
    let sandbox = Sandbox::default();
    let joblog = sandbox.out().join("joblog");
    let options = ["--joblog", joblog.to_str().unwrap(), "--retries", "1", "--backoff", "0"];
    let script = r"printf 12345; read -r text; case $text in
        fails) exit 7;; dies) kill -KILL $$;; sleeps) exec sleep 1000;; esac";
    let mut seen = Vec::new();
    for _session in 1..=2 {
        let texts = ["it's", "fails", "dies", "sleeps", "plain"];
        for text in texts {
            sandbox.ok("client", &[&format!("{text};1")]);
        }
        let options = [&options[..], &["--timeout", "1", "3"]].concat();
        let ended = sandbox.work(&options, &["sh", "-c", script, "sh", "{}", "{#}"]);
        sandbox.assert_code(&ended, 1);
        assert_eq!(sandbox.take_letters().len(), 3);
    }
    let lines = sandbox.noted("joblog");
    assert_eq!(lines[0], HEADER);
    for line in &lines[1..] {
        let columns: Vec<_> = line.split('\t').collect();
        let [seq, host, start, runtime, send, receive, exitval, signal, command] = columns[..]
        else {
            panic!("{line}")
        };
        assert_eq!((host, receive), (":", "5"), "{line}");
        assert!(
            start.parse::<f64>().unwrap() > 1e9 && runtime.trim().parse::<f64>().unwrap() >= 0.0
        );
        let (text, outcome) = match seq {
            "1" => ("'it'\\''s'", ("0", "0")),
            "2" => ("fails", ("7", "0")),
            "3" => ("dies", ("0", "9")),
            "4" => ("sleeps", ("-1", "15")),
            _ => ("plain", ("0", "0")),
        };
        assert_eq!((exitval, signal), outcome, "{line}");
        assert!(
            command.starts_with("sh -c ") && command.ends_with(&format!(" sh {text} 1")),
            "{line}"
        );
        let len = if seq == "1" { 4 } else { text.len() };
        assert_eq!(send, (len + 1).to_string(), "{line}");
        seen.push(seq.to_owned());
    }
    seen.sort();
    let twice = ["1", "2", "2", "3", "3", "4", "4", "5"].map(|seq| [seq; 2]).concat();
    assert_eq!(seen, twice, "a line for each attempt, in each of two sessions");
    sandbox.assert_clean();
}

// Usage.

#[rstest]
#[case(&["--lines"])]
#[case(&["--retries", "1"])]
#[case(&["--backoff", "1"])]
#[case(&["--timeout", "1"])]
#[case(&["--grace", "1"])]
#[case(&["--joblog", "x"])]
fn an_option_about_the_command_needs_one(#[case] option: &[&str]) {
    let sandbox = submitted(&[("Halo A", 10)]);
    for program in ["loadbalancer", "worker"] {
        let ended = sandbox.run(program, &[option, &["3"]].concat());
        sandbox.assert_code(&ended, 2);
        assert!(ended.stderr.contains("COMMAND"), "{ended:#?}");
    }
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}

#[rstest]
#[case("loadbalancer", &["--no-spawn", "3", "--", "true"])]
#[case("worker", &["--echo", "1", "--", "true"])]
#[case("loadbalancer", &["3", "true"])]
#[case("loadbalancer", &["3", "--"])]
#[case("worker", &["1", "--"])]
#[case("loadbalancer", &["3", "--", ""])]
#[case("loadbalancer", &["--timeout", "soon", "3", "--", "true"])]
#[case("loadbalancer", &["--timeout", "-1", "3", "--", "true"])]
#[case("loadbalancer", &["--retries", "10001", "3", "--", "true"])]
fn what_makes_no_sense_is_refused(#[case] program: &str, #[case] args: &[&str]) {
    let sandbox = Sandbox::default();
    let ended = sandbox.run(program, args);
    sandbox.assert_code(&ended, 2);
    sandbox.assert_clean();
    assert_eq!(sandbox.log(), "");
}
