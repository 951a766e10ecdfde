//! Every rule for input, at its boundary and one past it, through the real client: as an argument, and
//! as a line of standard input.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rstest::rstest;
use tests::oracle::submissions;
use tests::{Ended, Sandbox};

const LONGEST: usize = 4096;

fn run_with_input(sandbox: &Sandbox, input: &[u8]) -> Ended {
    let mut client = sandbox.start_with_input("client", &[], input);
    sandbox.end(&mut client)
}

/// What a client says where nobody takes what it has submitted.
const NO_BALANCER: &str = "client: accepted; no load balancer is running in this directory: start one there: `loadbalancer 3`\n";

/// What is accepted: the line, and how it is confirmed.
#[rstest]
#[case::plain("Halo A;10", "Halo A;10")]
#[case::count_least("a;1", "a;1")]
#[case::count_most("a;1000000000", "a;1000000000")]
#[case::leading_zeros("a;007", "a;7")]
#[case::text_shortest("x;1", "x;1")]
#[case::text_longest(&format!("{};1", "x".repeat(LONGEST)), &format!("{};1", "x".repeat(LONGEST)))]
#[case::text_longest_of_wide(&format!("{};1", "é".repeat(LONGEST / 2)), &format!("{};1", "é".repeat(LONGEST / 2)))]
#[case::last_semicolon_splits("a;b;c;3", "a;b;c;3")]
#[case::text_is_semicolons(";;3", ";;3")]
#[case::spaces_are_text("  a  ;1", "  a  ;1")]
#[case::before_c1_and_behind("~\u{a0};1", "~\u{a0};1")]
#[case::before_and_behind_separators("\u{2027}\u{202f};1", "\u{2027}\u{202f};1")]
#[case::before_and_behind_isolates("\u{2065}\u{206a};1", "\u{2065}\u{206a};1")]
#[case::emoji("👩‍🚀;2", "👩‍🚀;2")]
#[case::looks_like_a_log_line("Worker 1: 4 messages;1", "Worker 1: 4 messages;1")]
fn accepted(#[case] line: &str, #[case] confirmed: &str) {
    let sandbox = Sandbox::default();
    let ended = sandbox.ok("client", &["--", line]);
    assert_eq!(ended.stdout, format!("accepted {confirmed}\n"));
    assert_eq!(ended.stderr, NO_BALANCER);
    for end in ["\n", "\r\n", ""] {
        let ended = run_with_input(&sandbox, format!("{line}{end}").as_bytes());
        sandbox.assert_code(&ended, 0);
        assert_eq!(ended.stdout, format!("accepted {confirmed}\n"));
        assert_eq!(ended.stderr, NO_BALANCER);
    }
    assert_eq!(submissions(&sandbox.log()), [confirmed; 4]);
}

/// What is refused: the line, and what the message says of the reason and the position.
#[rstest]
#[case::no_separator(b"Halo A", "no `;` in it; write TEXT;COUNT")]
#[case::text_empty(b";1", "the text before `;` is empty")]
#[case::text_too_long(&[b"x".repeat(LONGEST + 1), b";1".to_vec()].concat(), "the text has 4097 bytes; at most 4096")]
#[case::wide_text_too_long(&["é".repeat(LONGEST / 2).as_bytes(), b"x;1"].concat(), "the text has 4097 bytes; at most 4096")]
#[case::count_missing(b"a;", "the count behind `;` at byte 2 is missing")]
#[case::count_zero(b"a;0", "the count at byte 2 is out of range; it must be 1 to 1000000000")]
#[case::count_zeros(b"a;000", "the count at byte 2 is out of range")]
#[case::count_one_more(
    b"a;1000000001",
    "the count at byte 2 is out of range; it must be 1 to 1000000000"
)]
#[case::count_wraps_32_bits(b"a;4294967297", "the count at byte 2 is out of range")]
#[case::count_wraps_64_bits(b"a;18446744073709551617", "the count at byte 2 is out of range")]
#[case::count_signed(b"a;+1", "the count must be digits only, but byte 2 is '+'")]
#[case::count_negative(b"a;-1", "the count must be digits only, but byte 2 is '-'")]
#[case::count_spaced(b"a; 1", "the count must be digits only, but byte 2 is ' '")]
#[case::count_trailing_space(b"ab;1 ", "the count must be digits only, but byte 4 is ' '")]
#[case::count_fraction(b"a;1.0", "the count must be digits only, but byte 3 is '.'")]
#[case::count_hex(b"a;0x1", "the count must be digits only, but byte 3 is 'x'")]
#[case::count_other_digits("a;١".as_bytes(), "the count must be digits only, but byte 2 is '١'")]
#[case::not_utf8(b"ab\xff;1", "byte 2 is not valid UTF-8")]
#[case::utf8_cut_short(b"a\xc3;1", "byte 1 is not valid UTF-8")]
#[case::surrogate(b"a\xed\xa0\x80;1", "byte 1 is not valid UTF-8")]
#[case::overlong(b"a\xc0\xaf;1", "byte 1 is not valid UTF-8")]
#[case::c0_first(b"a\x01b;1", "byte 1 begins a control character (U+0001)")]
#[case::tab(b"a\tb;1", "byte 1 begins a control character (U+0009)")]
#[case::carriage_return(b"a\rb;1", "byte 1 begins a control character (U+000D)")]
#[case::escape(b"ab\x1b[1m;1", "byte 2 begins a control character (U+001B)")]
#[case::c0_last(b"\x1f;1", "byte 0 begins a control character (U+001F)")]
#[case::del(b"a\x7f;1", "byte 1 begins a control character (U+007F)")]
#[case::c1_first("é\u{80};1".as_bytes(), "byte 2 begins a control character (U+0080)")]
#[case::c1_last("é\u{9f};1".as_bytes(), "byte 2 begins a control character (U+009F)")]
#[case::line_separator("a\u{2028};1".as_bytes(), "byte 1 begins a line or paragraph separator (U+2028)")]
#[case::paragraph_separator("a\u{2029};1".as_bytes(), "byte 1 begins a line or paragraph separator (U+2029)")]
#[case::bidi_first("a\u{202a};1".as_bytes(), "byte 1 begins a bidirectional control (U+202A)")]
#[case::bidi_last("a\u{202e};1".as_bytes(), "byte 1 begins a bidirectional control (U+202E)")]
#[case::isolate_first("a\u{2066};1".as_bytes(), "byte 1 begins a bidirectional control (U+2066)")]
#[case::isolate_last("a\u{2069};1".as_bytes(), "byte 1 begins a bidirectional control (U+2069)")]
fn refused(#[case] line: &[u8], #[case] says: &str) {
    let sandbox = Sandbox::default();
    let mut command = sandbox.command("client", &["--"]);
    command.arg(OsStr::from_bytes(line));
    let ended = sandbox.end(&mut sandbox.start_command(command, "client …"));
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains(says), "{says}: {ended:#?}");
    assert_eq!(ended.stdout, "");
    assert!(!sandbox.log_path().exists(), "nothing is touched{}", sandbox.report());

    let ended = run_with_input(&sandbox, line);
    sandbox.assert_code(&ended, 2);
    assert_eq!(ended.stderr, format!("client: line 1: {}; left out\n", reason(&ended)));
    assert!(reason(&ended).contains(says), "{says}: {ended:#?}");
    assert_eq!((ended.stdout.as_str(), sandbox.log().as_str()), ("", ""));
    sandbox.assert_clean();
}

/// What a refusal gives as its reason.
fn reason(ended: &Ended) -> &str {
    let line = ended.stderr.strip_prefix("client: line 1: ");
    line.and_then(|line| line.strip_suffix("; left out\n")).unwrap_or("(no such message)")
}

/// A newline ends a line of standard input, but in an argument it would forge a log line.
#[rstest]
#[case::inside("a\nWorker1: message received;1", "byte 1 begins a control character (U+000A)")]
#[case::second_at_the_end("a;1\n\n", "the count must be digits only, but byte 3 is '\\n'")]
fn a_newline_in_an_argument(#[case] argument: &str, #[case] says: &str) {
    let sandbox = Sandbox::default();
    let ended = sandbox.run("client", &[argument]);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains(says), "{ended:#?}");
    assert!(!sandbox.log_path().exists());
}

#[test]
fn one_bad_argument_and_nothing_is_submitted() {
    let sandbox = Sandbox::default();
    let ended = sandbox.run("client", &["a;1", "b;0", "c;1"]);
    sandbox.assert_code(&ended, 2);
    assert!(ended.stderr.contains("argument 2, "), "{ended:#?}");
    assert!(ended.stderr.contains("nothing was submitted"), "{ended:#?}");
    assert!(!sandbox.log_path().exists());
}

#[test]
fn bad_lines_among_good_ones_are_left_out() {
    let sandbox = Sandbox::default();
    let long = "x".repeat(1_000_000);
    let input = format!("a;1\nbad\nb;2\r\n\n{long};1\nc\x07;1\nlast;3");
    let ended = run_with_input(&sandbox, input.as_bytes());
    sandbox.assert_code(&ended, 1);
    assert_eq!(ended.stdout, "accepted a;1\naccepted b;2\naccepted last;3\n");
    let told: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.ends_with("left out"))
        .filter_map(|l| l.get(..15))
        .collect();
    assert_eq!(told, ["client: line 2:", "client: line 4:", "client: line 5:", "client: line 6:"]);
    sandbox.ok("loadbalancer", &["2"]);
    assert_eq!(submissions(&sandbox.log()), ["a;1", "b;2", "last;3"]);
    assert_eq!(sandbox.sessions()[0].shares, [3, 3]);
    sandbox.assert_clean();
}

/// As PowerShell and Notepad write a file: the mark became part of the first text.
#[test]
fn a_byte_order_mark_is_no_text() {
    let sandbox = Sandbox::default();
    let ended = run_with_input(&sandbox, "\u{feff}Halo A;2\r\nHalo A;2\r\n".as_bytes());
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "accepted Halo A;2\naccepted Halo A;2\n");
    sandbox.ok("loadbalancer", &["2"]);
    assert_eq!(submissions(&sandbox.log()), ["Halo A;2", "Halo A;2"]);
    // In an argument nobody puts it by mistake.
    let ended = sandbox.ok("client", &["\u{feff}Halo A;2"]);
    assert_eq!(ended.stdout, "accepted \u{feff}Halo A;2\n");
}

#[rstest]
#[case::nothing(b"", 0, 0)]
#[case::only_a_byte_order_mark("\u{feff}".as_bytes(), 0, 0)]
#[case::all_bad(b"a\nb;\n;1\n", 2, 3)]
#[case::an_empty_line(b"\n", 2, 1)]
#[case::zeros(&[0; 10_000], 2, 1)]
fn input_without_a_submission(#[case] input: &[u8], #[case] code: i32, #[case] complaints: usize) {
    let sandbox = Sandbox::default();
    let ended = run_with_input(&sandbox, input);
    sandbox.assert_code(&ended, code);
    assert_eq!(ended.stderr.lines().count(), complaints, "{ended:#?}");
    assert_eq!((ended.stdout.as_str(), sandbox.log().as_str()), ("", ""));
    sandbox.assert_clean();
}
