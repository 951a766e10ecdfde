//! `cargo xtask verify` on good logs, and on every kind of damage.
#![forbid(unsafe_code)]

mod xtask;

use std::path::PathBuf;

use rstest::rstest;
use serde_json::Value;
use xtask::{both, json, run, xtask};

/// Lines 1 and 2 are the client's; 3 to 12 received; 13 to 22 executed; 23 to 25 totals.
const SAMPLE: &str = include_str!("sample.log");

struct Log {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new(contents: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sistem.log");
        std::fs::write(&path, contents).unwrap();
        Self { _dir: dir, path }
    }

    /// The verdict for a program and for people. Both must end with this exit code.
    fn verify(&self, args: &[&str], code: i32) -> (Value, String) {
        let args = [&["verify", self.path.to_str().unwrap()], args].concat();
        let verdict = json(&run(&[&args[..], &["--json"]].concat(), code));
        assert_eq!(verdict["version"], 2);
        assert_eq!(verdict["passed"], code == 0);
        (verdict, both(&run(&args, code)))
    }
}

/// A session in which all submissions are accepted before the first message is taken.
fn session(submissions: &[(&str, u32)], workers: u32) -> String {
    let mut lines = Vec::new();
    for (text, count) in submissions {
        lines.push(format!("Message from client: {text}"));
        lines.push(format!("Message count: {count}"));
    }
    let (mut turn, mut executed) = (0, vec![0; workers as usize]);
    for (text, count) in submissions {
        lines.extend((1..=*count).map(|i| format!("Received at lb: {text} (#message {i})")));
        for _ in 0..*count {
            lines.push(format!("Worker{}: message received", turn + 1));
            executed[turn] += 1;
            turn = (turn + 1) % executed.len();
        }
    }
    lines.extend((1..).zip(&executed).map(|(k, n)| format!("Worker {k}: {n} messages")));
    lines.join("\n") + "\n"
}

#[rstest]
#[case::sample(SAMPLE.to_owned(), Some("3"), 1, 10)]
#[case::found_out(SAMPLE.to_owned(), None, 1, 10)]
#[case::one_worker(session(&[("a", 7)], 1), None, 1, 7)]
#[case::many_workers(session(&[("a", 1000)], 256), None, 1, 1000)]
#[case::as_many_as_workers(session(&[("a", 256)], 256), Some("256"), 1, 256)]
#[case::fewer_than_workers(session(&[("a", 2)], 3), None, 1, 2)]
#[case::one_of_256(session(&[("a", 1)], 256), Some("256"), 1, 1)]
#[case::several_clients(session(&[("a", 5), ("b", 2), ("a", 5), ("x (#message 1)", 3)], 4), None, 1, 15)]
#[case::several_sessions(
    [session(&[("a", 5)], 2), session(&[("a", 1)], 3), session(&[("b", 9), ("c", 1)], 1)].concat(),
    None, 3, 16
)]
fn good(
    #[case] log: String,
    #[case] workers: Option<&str>,
    #[case] sessions: u64,
    #[case] messages: u64,
) {
    let args: Vec<&str> = workers.into_iter().flat_map(|n| ["--workers", n]).collect();
    let (verdict, text) = Log::new(&log).verify(&args, 0);
    assert_eq!(verdict["sessions"]["count"], sessions);
    assert_eq!(verdict["messages"], messages);
    assert_eq!(verdict["lines"], log.lines().count());
    assert_eq!(verdict["bytes"], log.len());
    assert_eq!(verdict["first_wrong"], Value::Null);
    assert!(text.contains("every message exactly once, in order"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where no terminal is: {text}");
}

/// A client may come at any moment of a session, but its two lines are together.
#[test]
fn a_later_client_may_come_anywhere() {
    for at in 2..22 {
        let mut lines: Vec<&str> = SAMPLE.lines().take(22).collect();
        lines.extend(["Received at lb: b (#message 1)", "Worker2: message received"]);
        lines.extend(["Worker 1: 4 messages", "Worker 2: 4 messages", "Worker 3: 3 messages"]);
        lines.splice(at..at, ["Message from client: b", "Message count: 1"]);
        Log::new(lines.join("\n") + "\n").verify(&["--workers", "3"], 0);
    }
}

#[test]
fn an_empty_log_holds_no_session() {
    let (verdict, text) = Log::new("").verify(&[], 0);
    assert_eq!(verdict["sessions"]["count"], 0);
    assert!(text.contains("the log is empty: it holds no session"), "{text}");
}

/// What happens to the sample. Lines are numbered from 1, as `verify` numbers them.
enum Damage {
    Nothing,
    Missing(usize),
    Doubled(usize),
    /// With the next one.
    Swapped(usize),
    Replaced(usize, &'static str),
}
use Damage::{Doubled, Missing, Nothing, Replaced, Swapped};

impl Damage {
    fn to_sample(&self) -> Vec<&'static str> {
        let mut lines: Vec<_> = SAMPLE.lines().collect();
        match *self {
            Nothing => {}
            Missing(number) => drop(lines.remove(number - 1)),
            Doubled(number) => lines.insert(number, lines[number - 1]),
            Swapped(number) => lines.swap(number - 1, number),
            Replaced(number, line) => lines[number - 1] = line,
        }
        lines
    }
}

/// Every kind of damage to the sample: N as prescribed (0: not), the first wrong line, what was
/// expected there, and what is said to a person about the rest of the session.
#[rstest]
#[case::received_missing(
    Missing(5),
    3,
    5,
    "`Received at lb: Halo A (#message 3)`",
    "received, `Halo A` #message 3: 1 line missing"
)]
#[case::received_doubled(
    Doubled(5),
    3,
    6,
    "`Received at lb: Halo A (#message 4)`",
    "received, `Halo A` #message 3: 1 line too many"
)]
#[case::received_swapped(
    Swapped(5),
    3,
    5,
    "`Received at lb: Halo A (#message 3)`",
    "only the order is wrong"
)]
#[case::received_another_text(
    Replaced(5, "Received at lb: b (#message 3)"),
    3,
    5,
    "`Received at lb: Halo A (#message 3)`",
    "received, `b` #message 3: 1 line too many"
)]
#[case::executed_missing(
    Missing(14),
    3,
    14,
    "`Worker2: message received`",
    "worker 2: executed 2 (1 missing), its share is 3, its total says 3"
)]
#[case::executed_missing_n_unknown(
    Missing(14),
    0,
    14,
    "`Worker2: message received` or `Worker1: message received`",
    "worker 2: executed 2 (1 missing), its share is 3, its total says 3"
)]
#[case::executed_doubled(
    Doubled(14),
    3,
    15,
    "`Worker3: message received`",
    "worker 2: executed 4 (1 too many), its share is 3, its total says 3"
)]
#[case::executed_swapped(
    Swapped(14),
    3,
    14,
    "`Worker2: message received`",
    "only the order is wrong"
)]
#[case::executed_by_the_wrong_worker(
    Replaced(17, "Worker3: message received"),
    0,
    17,
    "`Worker2: message received`",
    "worker 3: executed 4 (1 too many), its share is 3"
)]
#[case::executed_by_a_strange_worker(
    Replaced(17, "Worker9: message received"),
    3,
    17,
    "`Worker2: message received`",
    "worker 9: executed 1 (1 too many), its share is 0"
)]
#[case::executed_before_received(
    Swapped(12),
    3,
    12,
    "`Received at lb: Halo A (#message 10)`",
    "only the order is wrong"
)]
#[case::total_wrong(
    Replaced(23, "Worker 1: 5 messages"),
    3,
    23,
    "`Worker 1: 4 messages`",
    "worker 1: executed 4, its share is 4, its total says 5"
)]
#[case::total_missing(
    Missing(24),
    3,
    24,
    "`Worker 2: 3 messages`",
    "worker 2: executed 3, its share is 3, its total is missing"
)]
#[case::total_swapped(Swapped(24), 3, 24, "`Worker 2: 3 messages`", "only the order is wrong")]
#[case::total_too_early(
    Swapped(22),
    3,
    22,
    "`Worker1: message received`",
    "only the order is wrong"
)]
#[case::total_doubled(
    Doubled(24),
    3,
    25,
    "`Worker 3: 3 messages`",
    "its total stands 2 times and says 3"
)]
#[case::total_doubled_at_the_end(
    Doubled(25),
    3,
    26,
    "`Message from client: …`",
    "these lines belong to no submission"
)]
#[case::client_line_missing(
    Missing(1),
    3,
    1,
    "`Message from client: …`",
    "1 submission with only one of its two lines"
)]
#[case::count_line_missing(
    Missing(2),
    3,
    2,
    "`Message count: …`",
    "1 submission with only one of its two lines"
)]
#[case::client_lines_swapped(
    Swapped(1),
    3,
    1,
    "`Message from client: …`",
    "only the order is wrong"
)]
#[case::count_too_small(
    Replaced(2, "Message count: 9"),
    3,
    12,
    "`Worker1: message received`",
    "received, `Halo A` #message 10: 1 line too many"
)]
#[case::fewer_workers_prescribed(
    Nothing,
    2,
    15,
    "`Worker1: message received`",
    "worker 1: executed 4 (1 missing), its share is 5, its total says 4"
)]
#[case::more_workers_prescribed(
    Nothing,
    4,
    16,
    "`Worker4: message received`",
    "worker 4: executed 0 (2 missing), its share is 2, its total is missing"
)]
fn damaged(
    #[case] damage: Damage,
    #[case] workers: u32,
    #[case] line: u64,
    #[case] expected: &str,
    #[case] told: &str,
) {
    let lines = damage.to_sample();
    let n = workers.to_string();
    let args: &[&str] = if workers == 0 { &[] } else { &["--workers", &n] };
    let (verdict, text) = Log::new(lines.join("\n") + "\n").verify(args, 4);
    let first = &verdict["first_wrong"];
    assert_eq!(first["line"], line, "{text}");
    assert!(first["expected"].as_str().unwrap().contains(expected), "{first}");
    let found = usize::try_from(line).unwrap() - 1;
    assert_eq!(first["found"].as_str(), lines.get(found).copied(), "{first}");
    assert_eq!(first["kind"], "unexpected");
    assert_eq!(verdict["foreign"]["count"], 0);
    assert!(text.contains(&format!("first wrong line: line {line}: ")), "{text}");
    assert!(text.contains(told), "{text}");
}

/// A log that is still written to, or whose load balancer was killed, is right so far.
#[rstest]
#[case::no_totals(22, "`Worker 1: 4 messages`")]
#[case::no_last_total(24, "`Worker 3: 3 messages`")]
#[case::executing(16, "`Worker2: message received`")]
#[case::receiving(5, "`Received at lb: Halo A (#message 4)`")]
#[case::inside_a_submission(1, "`Message count: …`")]
fn unfinished(#[case] lines: usize, #[case] next: &str) {
    let log: String = SAMPLE.split_inclusive('\n').take(lines).collect();
    let (verdict, text) = Log::new([SAMPLE, &log].concat()).verify(&["--workers", "3"], 0);
    assert!(verdict["unfinished"].as_str().unwrap().contains(next), "{verdict}");
    assert_eq!(verdict["first_wrong"], Value::Null);
    assert_eq!(verdict["sessions"]["count"], 2);
    assert!(text.contains("right so far, unfinished: next should come"), "{text}");
    assert!(text.contains(next) && !text.contains("exactly once"), "{text}");
    // What follows must fit all the same.
    let (_, text) = Log::new(log + "Worker9: message received\n").verify(&["--workers", "3"], 4);
    assert!(text.contains(&format!("line {}: expected", lines + 1)), "{text}");
}

/// What nobody can see is said in words.
#[rstest]
#[case::a_space_at_the_end("count: 10", "count: 10 ", "it ends with ` ` (U+0020)")]
#[case::a_carriage_return(
    "count: 10",
    "count: 10\r",
    "it ends with a carriage return (U+000D), as DOS ends lines"
)]
#[case::a_no_break_space(
    "Halo A (#message 7)",
    "Halo\u{a0}A (#message 7)",
    "character 21 is `\\u{a0}` (U+00A0), not ` `"
)]
#[case::a_look_alike(
    "Halo A (#message 7)",
    "Halo \u{410} (#message 7)",
    "character 22 is `\\u{410}` (U+0410), not `A`"
)]
#[case::nul("Halo A (#message 7)", "Halo A\0 (#message 7)", "Halo A\\u{0} (#message 7)")]
fn invisible_differences(#[case] from: &str, #[case] to: &str, #[case] told: &str) {
    let (_, text) = Log::new(SAMPLE.replacen(from, to, 1)).verify(&["--workers", "3"], 4);
    assert!(text.contains(told), "{text}");
}

/// As programs write it that buffer their output.
#[test]
fn lines_grouped_by_worker_are_said_to_be_that() {
    let mut lines: Vec<&str> = SAMPLE.lines().collect();
    lines[12..22].sort_unstable();
    let (verdict, text) = Log::new(lines.join("\n") + "\n").verify(&[], 4);
    assert_eq!(verdict["sessions"]["first"][0]["tally"]["grouped_by_worker"], true);
    assert!(text.contains("the lines are grouped by worker"), "{text}");
    let (_, text) = Log::new(Swapped(14).to_sample().join("\n") + "\n").verify(&[], 4);
    assert!(!text.contains("grouped by worker"), "{text}");
}

/// A log may come through a pipe, which has neither length nor name.
#[test]
fn standard_input_is_read() {
    let verify = |log: &str, code| {
        let mut verify = assert_cmd::Command::from_std(xtask(&["verify", "-"]));
        let output = verify.write_stdin(log).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", both(&output));
        both(&output)
    };
    assert!(verify(SAMPLE, 0).contains("standard input: 25 lines"));
    assert!(verify(&SAMPLE.replace("#message 7", "#message 8"), 4).contains("line 9"));
}

/// Lines of another program between ours do not hide that ours are right.
#[rstest]
#[case::text(b"hello", "hello")]
#[case::empty(b"", "")]
#[case::almost_a_line(b"Worker 1: 1 message", "Worker 1: 1 message")]
#[case::an_escape(b"\x1b[31mred", "\\u{1b}[31mred")]
#[case::no_utf8(b"\xff", "\u{fffd}")]
fn foreign(#[case] line: &[u8], #[case] shown: &str) {
    let mut lines: Vec<&[u8]> = SAMPLE.lines().map(str::as_bytes).collect();
    lines.insert(9, line);
    let (verdict, text) = Log::new([lines.join(&b'\n'), b"\n".to_vec()].concat()).verify(&[], 4);
    let first = &verdict["first_wrong"];
    assert_eq!((&first["line"], &first["kind"]), (&10.into(), &"foreign".into()));
    assert_eq!(first["found"], shown);
    assert!(first["expected"].as_str().unwrap().contains("(#message 8)"), "{first}");
    assert_eq!(verdict["damaged_sessions"], 0);
    assert_eq!(verdict["messages"], 10);
    assert!(text.contains(&format!("line 10: `{shown}` is none of the five kinds")), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn of_many_foreign_lines_some_are_listed_and_all_are_counted() {
    let log = SAMPLE.replace("Worker1: message received\n", &"x\n".repeat(100)) + &"y\n".repeat(50);
    let (verdict, text) = Log::new(log).verify(&[], 4);
    assert_eq!(verdict["foreign"]["count"], 450);
    assert_eq!(verdict["foreign"]["first"].as_array().unwrap().len(), 100);
    assert_eq!(verdict["foreign"]["first"][99]["line"], 112);
    assert!(text.contains("450 lines") && text.contains("… and 440 more"), "{text}");
}

/// A last line without newline, cut short or not.
#[rstest]
#[case::only_the_newline(SAMPLE.len() - 1, 25, "`Worker 3: 3 messages`")]
#[case::half_a_total(SAMPLE.len() - 5, 25, "`Worker 3: 3 messages`")]
#[case::half_a_count(44, 2, "`Message count: …`")]
#[case::half_a_received_line(60, 3, "`Received at lb: Halo A (#message 1)`")]
fn torn(#[case] len: usize, #[case] line: u64, #[case] expected: &str) {
    let (verdict, text) = Log::new(&SAMPLE[..len]).verify(&["--workers", "3"], 4);
    let first = &verdict["first_wrong"];
    assert_eq!((&first["line"], &first["kind"]), (&line.into(), &"torn".into()), "{text}");
    assert!(first["expected"].as_str().unwrap().contains(expected), "{first}");
    assert_eq!(verdict["damaged_sessions"], 0);
    assert!(text.contains("has no newline"), "{text}");
    assert!(!text.contains("right so far"), "{text}");
}

/// The sessions around a damaged one are judged by their own order.
#[test]
fn damage_stays_in_its_session() {
    let damaged = SAMPLE.replace("(#message 7)", "(#message 8)");
    let log = [SAMPLE, &damaged, SAMPLE, &SAMPLE.replace("2: 3 m", "2: 4 m"), SAMPLE].concat();
    let (verdict, text) = Log::new(log).verify(&[], 4);
    assert_eq!(verdict["first_wrong"]["line"], 34);
    assert_eq!(verdict["sessions"]["count"], 5);
    assert_eq!(verdict["damaged_sessions"], 2);
    let sessions = verdict["sessions"]["first"].as_array().unwrap();
    let lines: Vec<_> = sessions.iter().map(|s| (&s["first_line"], &s["fault"]["line"])).collect();
    let expected = [(1, None), (26, Some(34)), (51, None), (76, Some(99)), (101, None)];
    let expected =
        expected.map(|(first, fault)| (Value::from(first), fault.map_or(Value::Null, Value::from)));
    assert_eq!(lines, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert!(text.contains("#message 7: 1 line missing"), "{text}");
    assert!(text.contains("#message 8: 1 line too many"), "{text}");
    assert!(text.contains("line 99: expected `Worker 2: 3 messages`"), "{text}");
}

#[rstest]
#[case::no_such_file(&["verify", "/nonexistent/sistem.log"], 3, "No such file")]
#[case::a_directory(&["verify", "/"], 3, "directory")]
#[case::no_log_named(&["verify"], 2, "<LOG>")]
#[case::n_out_of_range(&["verify", "sistem.log", "--workers", "257"], 2, "from 1 to 256")]
fn cannot_be_judged(#[case] args: &[&str], #[case] code: i32, #[case] why: &str) {
    let output = run(args, code);
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{}", both(&output));
}
