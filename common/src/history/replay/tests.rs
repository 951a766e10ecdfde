use super::*;
use rstest::rstest;

const SAMPLE: &str = "\
Message from client: Halo A
Message count: 4
Received at lb: Halo A (#message 1)
Received at lb: Halo A (#message 2)
Received at lb: Halo A (#message 3)
Received at lb: Halo A (#message 4)
Worker1: message received
Worker2: message received
Worker3: message received
Worker1: message received
Worker 1: 2 messages
Worker 2: 1 messages
Worker 3: 1 messages
";

/// Reads a log; an error comes with the number of its line, from 1.
fn read(log: &str, workers: Option<u32>) -> Result<Vec<Summary>, (usize, Fault)> {
    let mut replay = Replay::new(workers.map(|n| Workers::new(n).unwrap()));
    let mut summaries = Vec::new();
    let mut number = 0;
    for line in log.lines() {
        number += 1;
        summaries.extend(replay.push(line.as_bytes()).map_err(|fault| (number, fault))?);
    }
    summaries.extend(replay.finish().map_err(|fault| (number + 1, fault))?);
    Ok(summaries)
}

#[rstest]
#[case::found_out(None)]
#[case::prescribed(Some(3))]
fn the_sample_is_in_order(#[case] workers: Option<u32>) {
    let summary = Summary { submissions: 1, messages: 4, shares: vec![2, 1, 1] };
    assert_eq!(read(SAMPLE, workers), Ok(vec![summary.clone()]));
    let twice = format!("{SAMPLE}{SAMPLE}");
    assert_eq!(read(&twice, workers), Ok(vec![summary.clone(), summary]));
}

#[test]
fn fewer_messages_than_workers() {
    let log = "Message from client: a\nMessage count: 1\nReceived at lb: a (#message 1)\n\
               Worker1: message received\nWorker 1: 1 messages\nWorker 2: 0 messages\n";
    let summary = Summary { submissions: 1, messages: 1, shares: vec![1, 0] };
    assert_eq!(read(log, None), Ok(vec![summary.clone()]));
    assert_eq!(read(log, Some(2)), Ok(vec![summary]));
    assert_eq!(read(log, Some(3)).unwrap_err().0, 7);
    assert_eq!(read(log, Some(1)).unwrap_err().0, 6);
}

#[test]
fn a_later_client_may_come_between_any_two_lines() {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for at in [0, 2, 3, 6, 7, 10] {
        let mut log = lines.clone();
        log.splice(at..at, ["Message from client: b", "Message count: 1"]);
        // Taken first when accepted first.
        let own = ["Received at lb: b (#message 1)", "Worker2: message received"];
        if at == 0 {
            log.splice(4..4, [own[0], "Worker1: message received"]);
            log.splice(
                10..14,
                [
                    "Worker2: message received",
                    "Worker3: message received",
                    "Worker1: message received",
                    "Worker2: message received",
                ],
            );
        } else {
            log.splice(12..12, own);
        }
        let totals = log.len() - 3;
        log.splice(
            totals..,
            ["Worker 1: 2 messages", "Worker 2: 2 messages", "Worker 3: 1 messages"],
        );
        assert!(read(&log.join("\n"), Some(3)).is_ok(), "{at}: {log:#?}");
    }
    // But not between a submission's own two lines, and not among the totals.
    for at in [1, 11, 12] {
        let mut log = lines.clone();
        log.splice(at..at, ["Message from client: b", "Message count: 1"]);
        assert_eq!(read(&log.join("\n"), None).unwrap_err().0, at + 1, "{log:#?}");
    }
}

#[test]
fn every_line_left_out_doubled_or_swapped_is_found() {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for at in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(at);
        assert!(read(&without.join("\n"), Some(3)).is_err(), "line {at} left out");
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        assert!(read(&doubled.join("\n"), Some(3)).is_err(), "line {at} doubled");
        if at > 0 {
            let mut swapped = lines.clone();
            swapped.swap(at - 1, at);
            assert!(read(&swapped.join("\n"), Some(3)).is_err(), "line {at} swapped");
        }
    }
}

#[test]
fn the_first_wrong_line_and_what_was_expected_are_told() {
    let log = SAMPLE.replace("Worker2: message", "Worker3: message");
    let (number, fault) = read(&log, Some(3)).unwrap_err();
    assert_eq!(number, 8);
    assert!(fault.to_string().contains("`Worker2: message received`"), "{fault}");
    let (number, fault) = read(&log[..200], Some(3)).unwrap_err();
    assert_eq!((number, fault), (7, Fault::NotALine), "a torn last line");
}

/// After so many lines of a session of 12 messages and workers.
#[rstest]
#[case::nothing(14, "", None)]
#[case::of_a_submission(0, "Message f", None)]
#[case::count(1, "Message count: 1", None)]
#[case::received(2, "Rec", Some("eived at lb: Halo A (#message 1)\n"))]
#[case::only_the_newline(3, "Received at lb: Halo A (#message 2)", Some("\n"))]
#[case::first_worker(14, "Worker", Some("1: message received\n"))]
#[case::next_or_first_again(16, "Worker", None)]
#[case::next(16, "Worker3", Some(": message received\n"))]
#[case::first_again(16, "Worker1", Some(": message received\n"))]
#[case::first_or_tenth(23, "Worker1", None)]
#[case::tenth(23, "Worker10", Some(": message received\n"))]
#[case::another(16, "Worker4", None)]
fn half_a_line_is_completed_where_it_is_certain(
    #[case] lines: usize,
    #[case] half: &str,
    #[case] rest: Option<&str>,
) {
    let mut replay = Replay::new(None);
    let head = "Message from client: Halo A\nMessage count: 12\n".lines().map(str::to_owned);
    let received = (1..=12).map(|i| format!("Received at lb: Halo A (#message {i})"));
    let executed = (1..=12).map(|k| format!("Worker{k}: message received"));
    for line in head.chain(received).chain(executed).take(lines) {
        replay.push(line.as_bytes()).unwrap();
    }
    assert_eq!(replay.completion(half.as_bytes()), rest.map(|rest| rest.as_bytes().to_vec()));
}
