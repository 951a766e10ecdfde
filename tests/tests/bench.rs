//! `cargo xtask bench` runs to its end, and what it prints is what programs that read it expect. No
//! figure is judged: those depend on the machine.
#![forbid(unsafe_code)]

use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs what `cargo xtask bench` becomes in a directory of its own.
fn bench(args: &[&str]) -> (Value, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temp directory");
    let mut command = Command::new(tests::built(&["-p", "bench"]));
    command.args(args).arg("--dir").arg(dir.path()).stdin(Stdio::null());
    let output = command.output().expect("starting bench");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let stdout = String::from_utf8_lossy(&output.stdout);
        panic!("{command:?}: stdout is not one JSON value: {error}\n{stdout}\n{stderr}")
    });
    (report, dir)
}

/// Median, least and greatest of at least `samples`, in order.
fn assert_spread(spread: &Value, samples: u64, report: &Value) {
    let number = |name: &str| spread[name].as_f64().unwrap_or(f64::NAN);
    let (min, median, max) = (number("min"), number("median"), number("max"));
    assert!(0.0 <= min && min <= median && median <= max, "{spread} in {report:#}");
    assert!(spread["samples"].as_u64() >= Some(samples), "{spread} in {report:#}");
}

#[test]
fn the_quick_set_reports_every_section_and_verifies_every_log() {
    let (report, dir) = bench(&["--quick", "--json", "-"]);
    assert_eq!(report["version"], 2, "{report:#}");
    let cases = |section: &str| report[section].as_array().expect("cases").iter();
    let mut clients = Vec::new();
    for case in cases("throughput").chain(cases("lines")) {
        assert_eq!(case["verified"], true, "{case:#}");
        assert_spread(&case["of_limit"], 5, case);
        assert_spread(&case["limit_cpu_share"], 5, case);
        let contestants: Vec<_> = case["scores"].as_array().expect("scores").iter().collect();
        let mut names: Vec<_> = contestants.iter().map(|score| &score["contestant"]).collect();
        let expected: &[&str] = if case["shape"] == "many" {
            &["limit", "ours", "raw_queue", "line_at_a_time"]
        } else {
            clients.push(case["clients"].as_u64());
            assert_spread(&case["times_pipes"], 5, case);
            // Each only where it is installed.
            names.retain(|name| *name != "zeromq" && *name != "redis");
            &["limit", "ours", "pipes"]
        };
        assert_eq!(names, expected, "{case:#}");
        for score in contestants {
            assert_spread(&score["ns_per_message"], 5, case);
            assert_spread(&score["messages_per_second"], 5, case);
        }
    }
    assert_eq!(clients, [Some(1), Some(8)], "{report:#}");
    assert_eq!(report["latency"]["verified"], true, "{report:#}");
    assert_eq!(report["startup"]["verified"], true, "{report:#}");
    assert_eq!(report["watched"]["verified"], true, "{report:#}");
    assert_spread(&report["watched"]["times_alone"], 5, &report);
    for section in ["memory", "system_calls"] {
        let rows = report[section].as_array().expect(section);
        for program in ["client", "loadbalancer", "worker"] {
            let row = rows.iter().find(|row| row["program"] == program);
            let row = row.unwrap_or_else(|| panic!("no {program} in {section}: {report:#}"));
            let seen = if section == "memory" { &row["bytes"] } else { &row["calls"] };
            assert!(seen.as_u64() > Some(0), "{section}: nothing was seen of {program}: {row}");
        }
    }
    assert_eq!(
        report["idle"].as_array().map(Vec::len),
        Some(4),
        "balancer and workers: {report:#}"
    );
    let races = report["work"]["races"].as_array().expect("races");
    let tasks: Vec<_> = races.iter().map(|race| &race["task"]).collect();
    assert_eq!(tasks, ["true", "answer", "sleep", "sleeper"], "{report:#}");
    for race in races {
        let ours = &race["scores"][0];
        assert_eq!(ours["contestant"], "ours", "{race:#}");
        assert_spread(&ours["messages_per_second"], 5, race);
        let has_ideal = race["alone_ms"] != Value::Null;
        if has_ideal {
            assert_spread(&ours["of_ideal"], 5, race);
        }
        assert_eq!(has_ideal, race["task"].as_str().unwrap().starts_with("sleep"), "{race:#}");
    }
    // xargs and GNU parallel, each only where it is installed.
    let missing = report["work"]["not_installed"].as_array().map_or(0, Vec::len);
    assert_eq!(report["goals"].as_array().map(Vec::len), Some(14 - missing), "{report:#}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("the directory").collect();
    assert!(left.is_empty(), "files are left: {left:?}");
}

#[test]
fn only_what_was_asked_for_is_measured_and_drawn() {
    let drawn = tempfile::tempdir().expect("a temp directory");
    let picture = drawn.path().join("bench.svg");
    let picture_arg = picture.to_str().expect("a path in UTF-8");
    let (report, _dir) = bench(&[
        "--only",
        "throughput",
        "--case",
        "1000x6x2",
        "--json",
        "-",
        "--plot",
        picture_arg,
    ]);
    assert!(report.get("latency").is_none(), "{report:#}");
    assert_eq!(report["throughput"][0]["workers"], 2, "{report:#}");
    assert_eq!(report["throughput"].as_array().map(Vec::len), Some(1), "{report:#}");
    let svg = std::fs::read_to_string(&picture).expect("the picture");
    assert!(svg.contains("<svg") && svg.contains("10³ × 6 B, N = 2"), "{svg}");
}

#[test]
fn what_would_do_nothing_is_refused() {
    for args in [["--plot", "never.svg"], ["--case", "10x6x3"]] {
        let mut command = Command::new(tests::built(&["-p", "bench"]));
        let refused = command.args(["--only", "memory"]).args(args).output();
        assert_eq!(refused.expect("starting bench").status.code(), Some(2), "{args:?}");
    }
}
