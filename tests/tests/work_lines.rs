//! `--lines`: a COMMAND that is kept, a line in, a line out.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use common::grammar::message_id::MessageId;
use common::ledger::cell::HandState;
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::Sandbox;
use tests::oracle::canonical_log;

/// Shell: functions that read a question and answer it. A tab is between its parts, so a text keeps its blanks.
const FUNCTIONS: &str = r#"
    tab=$(printf '\t')
    ask() { IFS=$tab read -r id attempt index text; }
    say() { printf '%s\t%s\n' "$id" "$1"; }
    is_alive() { { read -r _ _ state _ <"/proc/$1/stat"; } 2>/dev/null && [ "$state" != Z ]; }
    wait_for() { while [ ! -e "$OUT/$1" ]; do sleep 0.01; done; }
"#;

/// Answers what is left with `ok`.
const REST: &str = "\n while ask; do say ok; done";

fn submitted(submissions: &[(&str, u32)]) -> Sandbox {
    let sandbox = Sandbox::default();
    let lines: Vec<_> = submissions.iter().map(|(text, count)| format!("{text};{count}")).collect();
    let mut client = sandbox.start_with_input("client", &[], lines.join("\n").as_bytes());
    sandbox.assert_code(&sandbox.end(&mut client), 0);
    sandbox
}

fn handler(script: &str) -> String {
    format!("{FUNCTIONS}{script}")
}

#[test]
fn a_question_tells_id_attempt_index_and_text() {
    let texts = ["Halo A", " two  spaces ", "$(touch made) `id` 'x' \"y\" \\n", "-n", "😀", "{}"];
    let sandbox = submitted(&texts.map(|text| (text, 2)));
    let script = handler(
        r#"while ask; do
            printf '%s\n' "$LB_WORKER $1$2 $attempt $index $id <$text>" >>"$OUT/asked"
            if [ $attempt = 1 ]; then say retry; else say ok; fi
        done"#,
    );
    let options = ["--lines", "--retries", "1", "--backoff", "0", "1"];
    let ended = sandbox.work(&options, &["sh", "-c", &script, "sh", "{%}", "{}{#}"]);
    sandbox.assert_code(&ended, 0);
    let mut asked = sandbox.noted("asked");
    assert_eq!(asked.len(), 24);
    asked.sort();
    let mut expected = BTreeSet::new();
    let session: MessageId = asked[0].split(' ').nth(4).unwrap().parse().unwrap();
    for (number, message) in (0..12).enumerate() {
        let id = MessageId { session: session.session, message };
        let (text, index) = (texts[number / 2], number % 2 + 1);
        for attempt in 1..=2 {
            // There is no text yet when it is started, and no index.
            expected.insert(format!("1 1{{}}{{#}} {attempt} {index} {id} <{text}>"));
        }
    }
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), expected);
    sandbox.assert_clean();
}

#[test]
fn each_worker_keeps_its_own_until_the_session_ends() {
    let sandbox = submitted(&[("Halo A", 3000)]);
    let script = handler(
        r#"echo "$LB_WORKER" >>"$OUT/begun"; n=0
        while ask; do n=$((n+1)); say ok; done
        echo "$LB_WORKER $n" >>"$OUT/ended"; echo "worker $LB_WORKER saw the end" >&2"#,
    );
    let ended = sandbox.work(&["--quiet", "--lines", "3"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    let [mut begun, mut finished] = ["begun", "ended"].map(|file| sandbox.noted(file));
    begun.sort();
    finished.sort();
    assert_eq!(begun, ["1", "2", "3"], "started once each");
    assert_eq!(
        finished,
        ["1 1000", "2 1000", "3 1000"],
        "and ends by itself at the end of its input"
    );
    let mut said: Vec<_> = ended.stderr.lines().collect();
    said.sort_unstable();
    assert_eq!(said, [1, 2, 3].map(|k| format!("worker {k} saw the end")));
    sandbox.assert_log(&canonical_log(&[("Halo A", 3000)], 3));
    sandbox.assert_clean();
}

#[test]
fn several_messages_are_on_their_way() {
    let sandbox = submitted(&[("Halo A", 9)]);
    let script = handler(
        r"ask; a=$id; ask; b=$id; ask; c=$id
        for id in $a $b $c; do say ok; done",
    );
    let ended = sandbox.work(&["--lines", "3"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(&canonical_log(&[("Halo A", 9)], 3));
    sandbox.assert_clean();
}

#[test]
fn an_answer_may_come_in_pieces_and_several_in_one() {
    let sandbox = submitted(&[("Halo A", 4)]);
    let script = handler(
        r#"ask; printf '%s' "${id%?????}"; sleep 0.05; printf '%s' "${id#"${id%?????}"}"; sleep 0.05
        printf '\to'; sleep 0.05; printf 'k\n'
        ask; a=$id; ask; b=$id; ask; printf '%s\tok\n%s\tok\n%s\tok\n' "$a" "$b" "$id""#,
    );
    let ended = sandbox.work(&["--lines", "1"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(&canonical_log(&[("Halo A", 4)], 1));
    sandbox.assert_clean();
}

#[test]
fn alive_renews_the_timeout() {
    let sandbox = submitted(&[("Halo A", 2)]);
    let script = handler(
        r#"while ask; do
            for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.2; say alive; done
            echo "$attempt" >>"$OUT/attempts"; say ok
        done"#,
    );
    let ended = sandbox.work(&["--lines", "--timeout", "2", "2"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.noted("attempts"), ["1", "1"]);
    sandbox.assert_clean();
}

/// Of three messages the first one fails; the others are asked again, and nobody blames them.
#[rstest]
#[case::a_wrong_id("id=00000000000000ab-1; say ok", "wrong answer: 00000000000000ab-1\u{fffd}ok")]
#[case::no_id("echo hello", "wrong answer: hello")]
#[case::an_empty_line("echo", "wrong answer: ")]
#[case::no_verb("echo $id", "wrong answer: ")]
#[case::an_unknown_verb("say done", "wrong answer: ")]
#[case::an_id_out_of_turn("ask; say ok", "wrong answer: ")]
#[case::a_carriage_return("say \"$(printf 'ok\\r')\"", "wrong answer: ")]
#[case::a_reason_for_ok("say \"ok${tab}because\"", "wrong answer: ")]
#[case::a_line_too_long(
    "head -c 70000 /dev/zero | tr '\\0' x; exec sleep 1000",
    "an answer of more than 65536 bytes"
)]
#[case::an_end("exit 0", "ended without an answer: exit code 0")]
#[case::an_end_with_an_error("exit 3", "ended without an answer: exit code 3")]
#[case::an_end_by_a_signal("kill -KILL $$", "ended without an answer: signal 9 (SIGKILL)")]
#[case::half_an_answer_and_the_end(
    "printf '%s\\tok' $id; exit 0",
    "ended without an answer: exit code 0"
)]
#[case::a_closed_standard_output("exec 1>&-; exec sleep 1000", "it closed its standard output")]
#[case::silence("exec sleep 1000", "timed out after 1s")]
#[case::a_stop("kill -STOP $$", "timed out after 1s")]
fn what_is_no_answer_fails_the_oldest_message(
    #[case] answer: &str,
    #[case] outcome: &str,
    #[values(0, 1)] retries: usize,
) {
    let sandbox = submitted(&[("Halo A", 3)]);
    let script = handler(&format!(
        r#"first=1
        while ask; do
            echo "$index $attempt" >>"$OUT/asked"
            if [ $index = 1 ] && [ $attempt = 1 ]; then {answer}; continue; fi
            say ok
        done"#
    ));
    let retries_text = retries.to_string();
    let options = ["--lines", "--retries", &retries_text, "--backoff", "0", "--grace", "0.5", "1"];
    // A busy machine takes its time: only where silence is what fails is it limited.
    let limit: &[&str] = if outcome.starts_with("timed") { &["--timeout", "1"] } else { &[] };
    let ended = sandbox.work(&[limit, &options].concat(), &["sh", "-c", &script]);
    sandbox.assert_code(&ended, i32::from(retries == 0));
    let letters = sandbox.take_letters();
    assert_eq!(letters.len(), 1 - retries, "{}", sandbox.report());
    for letter in letters {
        assert_eq!((letter.index, letter.attempts), (1, 1));
        assert!(letter.outcome.starts_with(outcome), "{letter:#?}");
    }
    let asked = sandbox.noted("asked");
    assert_eq!(asked.contains(&"1 2".to_owned()), retries == 1, "{asked:?}");
    sandbox.assert_log(&canonical_log(&[("Halo A", 3)], 1));
    sandbox.assert_clean();
}

/// Which of them it had closed its ears to is not known; that it read the first one is not sure either.
#[test]
fn a_closed_standard_input_is_noticed() {
    // More than a pipe holds.
    let text = "x".repeat(4096);
    let sandbox = submitted(&[(&text, 100)]);
    let script = handler(
        r#"if [ ! -e "$OUT/closed" ]; then ask; say ok; : >"$OUT/closed"; exec 0<&-; exec sleep 1000; fi
        while ask; do say ok; done"#,
    );
    let options = ["--lines", "--retries", "1", "--backoff", "0", "--grace", "0.5", "1"];
    let ended = sandbox.work(&options, &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    sandbox.assert_log(&canonical_log(&[(&text, 100)], 1));
    sandbox.assert_clean();
}

/// A banner, say: of a COMMAND that was asked nothing yet it is an answer to nothing.
#[test]
fn what_is_written_before_any_question_fails_the_first_message() {
    let sandbox = submitted(&[("Halo A", 2)]);
    let script = handler(&format!("echo Welcome; {REST}"));
    let ended = sandbox.work(&["--lines", "1"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 1);
    let letters = sandbox.take_letters();
    assert!(!letters.is_empty());
    for letter in letters {
        assert_eq!(letter.outcome, "wrong answer: Welcome");
    }
    sandbox.assert_log(&canonical_log(&[("Halo A", 2)], 1));
    sandbox.assert_clean();
}

/// With everything answered nobody is to blame: COMMAND is started again.
#[rstest]
#[case::wrote("printf '%s\\tok\\nmore\\n' $id")]
#[case::ended("say ok; exit 0")]
#[case::failed("say ok; exit 1")]
fn what_happens_between_two_messages_costs_none(#[case] end: &str) {
    let sandbox = Sandbox::default();
    let script = handler(&format!(
        r#"echo $$ >>"$OUT/begun"
        while ask; do
            echo "$text" >>"$OUT/asked"
            if [ "$text" = first ]; then {end}; else say ok; fi
        done"#
    ));
    let mut balancer = sandbox.start_work(&["--serve", "--lines", "1"], &["sh", "-c", &script]);
    sandbox.ok("client", &["first;1"]);
    sandbox.wait_until("it is executed", || sandbox.log().contains("Worker1: message received"));
    let has_ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", sandbox.noted("begun")[0]));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    // What is written comes after the answer in one piece.
    sandbox.wait_until("it has ended", || !end.contains("exit") || has_ended());
    sandbox.ok("client", &["second;1"]);
    sandbox.wait_until("that is executed, too", || {
        sandbox.log().matches("Worker1: message received").count() == 2
    });
    balancer.signal(Signal::SIGTERM);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.noted("asked"), ["first", "second"]);
    assert_eq!(sandbox.noted("begun").len(), 2, "{ended:#?}");
    assert!(ended.stderr.contains("starting it again"), "{ended:#?}");
    sandbox.assert_clean();
}

#[test]
fn only_the_oldest_message_takes_too_long() {
    let sandbox = submitted(&[("Halo A", 5)]);
    let script = handler(
        r#"while ask; do
            echo "$index $attempt" >>"$OUT/asked"
            [ $index != 2 ] || { sleep 1000; }
            say ok
        done"#,
    );
    let options = ["--lines", "--timeout", "2", "1"];
    let ended = sandbox.work(&options, &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 1);
    let [letter] = &sandbox.take_letters()[..] else { panic!("one{}", sandbox.report()) };
    assert_eq!((letter.index, &letter.outcome[..]), (2, "timed out after 2s"));
    // Asked a second time, those after it have a second attempt.
    assert_eq!(sandbox.noted("asked"), ["1 1", "2 1", "3 2", "4 2", "5 2"]);
    sandbox.assert_log(&canonical_log(&[("Halo A", 5)], 1));
    sandbox.assert_clean();
}

#[test]
fn while_one_waits_for_its_retry_later_ones_are_answered() {
    let sandbox = submitted(&[("Halo A", 5)]);
    let joblog = sandbox.out().join("joblog");
    let script = handler(
        r#"while ask; do
            echo "$index $attempt" >>"$OUT/asked"
            if [ $index = 2 ] && [ $attempt = 1 ]; then say "retry${tab}not now"; else say ok; fi
        done"#,
    );
    let options = ["--lines", "--retries", "1", "--backoff", "0.3"];
    let options = [&options[..], &["--joblog", joblog.to_str().unwrap(), "1"]].concat();
    let ended = sandbox.work(&options, &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.noted("asked"), ["1 1", "2 1", "3 1", "4 1", "5 1", "2 2"]);
    let jobs = sandbox.noted("joblog");
    assert_eq!(jobs[0].split('\t').count(), 9, "the header");
    let outcome = |line: &String| {
        let columns: Vec<_> = line.split('\t').collect();
        (columns[0].to_owned(), columns[6].to_owned())
    };
    let jobs: Vec<_> = jobs[1..].iter().map(outcome).collect();
    let expected = [("1", "0"), ("2", "75"), ("3", "0"), ("4", "0"), ("5", "0"), ("2", "0")];
    assert_eq!(jobs, expected.map(|(seq, exitval)| (seq.to_owned(), exitval.to_owned())));
    sandbox.assert_log(&canonical_log(&[("Halo A", 5)], 1));
    sandbox.assert_clean();
}

#[test]
fn answers_have_their_outcome_and_reason() {
    let sandbox = submitted(&[("fine", 1), ("broken", 1), ("tired", 1), ("terse", 1)]);
    let script = handler(
        r#"while ask; do case $text in
            broken) say "dead${tab}no such \"account\"	at all";;
            tired) say "retry${tab}try $attempt";;
            terse) say dead;;
            *) say ok;;
        esac; done"#,
    );
    let options = ["--lines", "--retries", "2", "--backoff", "0", "2"];
    let ended = sandbox.work(&options, &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 1);
    let mut letters: Vec<_> = sandbox.take_letters();
    letters.sort_by_key(|letter| letter.id);
    let letters: Vec<_> = letters
        .iter()
        .map(|letter| (&letter.text[..], letter.worker, letter.attempts, &letter.outcome[..]))
        .collect();
    let expected = [
        ("broken", 2, 1, "dead: no such \"account\"\u{fffd}at all"),
        ("tired", 1, 3, "retry: try 3"),
        ("terse", 2, 1, "dead"),
    ];
    assert_eq!(letters, expected);
    assert!(ended.stderr.contains(" s; 3 dead: see `lbctl dead list`"), "{ended:#?}");
    sandbox.assert_clean();
}

#[test]
fn a_command_that_does_not_end_by_itself_is_ended() {
    let sandbox = submitted(&[("Halo A", 2)]);
    let script = handler(&format!(
        r#"trap 'echo asked >>"$OUT/ended"; exit 0' TERM {REST}
        while :; do sleep 0.01; done"#
    ));
    let ended = sandbox.work(&["--lines", "--grace", "0.3", "2"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.noted("ended"), ["asked", "asked"]);
    sandbox.assert_log(&canonical_log(&[("Halo A", 2)], 2));
    sandbox.assert_clean();
}

/// After its death those that may have been on their way are handed out one by one, so it shows which one it dies of.
#[test]
fn a_message_of_which_the_worker_dies_is_dead_after_the_third_time() {
    let sandbox = submitted(&[("Halo A", 4), ("poison", 1), ("Halo B", 5)]);
    let script = handler(
        r#"while ask; do
            echo "$text $index $attempt" >>"$OUT/asked"
            [ "$text" != poison ] || { kill -9 $PPID; exec sleep 1000; }
            say ok
        done"#,
    );
    let ended = sandbox.work(&["--lines", "--retries", "10", "2"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 1);
    let letters = sandbox.take_letters();
    let [letter] = &letters[..] else { panic!("one letter{}", sandbox.report()) };
    assert_eq!((&letter.text[..], letter.worker), ("poison", 1), "{}", sandbox.report());
    assert_eq!(letter.outcome, "its worker died in it for the third time");
    sandbox.assert_log(&canonical_log(&[("Halo A", 4), ("poison", 1), ("Halo B", 5)], 2));
    sandbox.assert_clean();
}

#[test]
fn aborts_count_neither_as_failures_nor_as_deaths() {
    let sandbox = submitted(&[("Halo A", 3)]);
    let script = handler(
        r#"while ask; do
            echo "$index $attempt" >>"$OUT/asked"
            [ $index != 2 ] || wait_for go
            say ok
        done"#,
    );
    for abort in 1..=4 {
        let mut balancer = sandbox.start_work(&["--lines", "1"], &["sh", "-c", &script]);
        let seen = format!("2 {abort}");
        sandbox.wait_until("it has the message", || sandbox.noted("asked").contains(&seen));
        sandbox.wait_until("the ledger says so", || {
            sandbox.in_hand(1).is_some_and(|hand| hand.state == HandState::Running)
        });
        let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
        sandbox.assert_code(&ended, 143);
        assert_eq!(sandbox.processes(), [0; 0], "its COMMAND ends before it");
        let hand = sandbox.in_hand(1).unwrap();
        assert_eq!((hand.state, hand.failures, hand.deaths), (HandState::Left, 0, 0));
    }
    sandbox.note("go");
    let ended = sandbox.work(&["--lines", "1"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.noted("asked").iter().filter(|line| *line == "1 1").count(), 1);
    sandbox.assert_log(&canonical_log(&[("Halo A", 3)], 1));
    sandbox.assert_clean();
}

/// What was counted is not done again; what was only on its way is.
#[test]
fn a_balancer_killed_while_messages_are_on_their_way_and_started_again() {
    let sandbox = submitted(&[("Halo A", 6)]);
    let script = handler(
        r#"echo $$ >>"$OUT/begun"
        read -r earlier <"$OUT/begun"
        [ $earlier = $$ ] || ! is_alive $earlier || echo alive >>"$OUT/two"
        while ask; do
            [ $index != 3 ] || [ -e "$OUT/slow" ] || { trap '' TERM; : >"$OUT/slow"; wait_for never; }
            echo "$index" >>"$OUT/done"; say ok
        done"#,
    );
    let mut balancer = sandbox.start_work(&["--lines", "1"], &["sh", "-c", &script]);
    sandbox.wait_until("it is at the third", || sandbox.out().join("slow").exists());
    sandbox.wait_for_executed(1, 2);
    balancer.kill();
    let ended = sandbox.work(&["--lines", "1"], &["sh", "-c", &script]);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.noted("two"), [""; 0], "{}", sandbox.report());
    assert_eq!(sandbox.noted("done"), ["1", "2", "3", "4", "5", "6"]);
    sandbox.assert_log(&canonical_log(&[("Halo A", 6)], 1));
    sandbox.assert_clean();
}

#[test]
fn a_slow_message_holds_up_nobody_but_its_own_worker() {
    let sandbox = submitted(&[("Halo A", 9)]);
    let script = handler(
        r#"while ask; do
            [ $index != 2 ] || wait_for go
            echo $index >>"$OUT/done"; say ok
        done"#,
    );
    let mut balancer = sandbox.start_work(&["--lines", "3"], &["sh", "-c", &script]);
    sandbox.wait_for_noted("done", 6);
    sandbox.wait_until("the ledger says who is at what", || {
        sandbox.in_hand(2).is_some_and(|hand| hand.state == HandState::Running && hand.attempt == 1)
    });
    let start = std::time::Instant::now();
    let worker = sandbox.spawned_worker(2);
    sandbox.wait_until("four seconds are over", || start.elapsed().as_secs() >= 4);
    assert_eq!(sandbox.spawned_worker(2), worker, "it is not killed");
    sandbox.note("go");
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stderr.lines().count(), 1, "nothing is complained of: {ended:#?}");
    let mut done = sandbox.noted("done");
    assert_eq!(&done[6..], ["2", "5", "8"]);
    done.sort();
    assert_eq!(done, (1..=9).map(|i| i.to_string()).collect::<Vec<_>>(), "each once");
    sandbox.assert_log(&canonical_log(&[("Halo A", 9)], 3));
    sandbox.assert_clean();
}

#[test]
fn workers_can_be_started_by_hand() {
    let sandbox = submitted(&[("Halo A", 10)]);
    let script = handler(REST);
    let worker = |k: &str| {
        let command = sandbox.with_work("worker", &["--lines", k], &["sh", "-c", &script]);
        sandbox.start_command(command, &format!("worker --lines {k} -- …"))
    };
    let mut workers = ["1", "2", "3"].map(worker);
    sandbox.ok("loadbalancer", &["--no-spawn", "3"]);
    for process in &mut workers {
        sandbox.assert_code(&sandbox.end(process), 0);
    }
    sandbox.assert_log(include_str!("sample.log"));
    sandbox.assert_clean();
}
