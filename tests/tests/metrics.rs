//! `lbctl metrics`: printed, as a file, and over HTTP.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rstest::rstest;
use tests::{Process, Sandbox};

/// Samples by name and labels, and the names of the counters.
#[derive(Debug)]
struct Scrape {
    samples: BTreeMap<String, f64>,
    counters: Vec<String>,
}

impl Scrape {
    /// Any line that is no comment is a name and a value: no time.
    fn of(text: &str) -> Self {
        assert!(text.ends_with('\n'), "{text}");
        let (comments, samples): (Vec<_>, Vec<_>) =
            text.lines().partition(|line| line.starts_with("# "));
        let sample = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
            [name, value] => (name.to_owned(), value.parse().expect(value)),
            _ => panic!("`{line}` in\n{text}"),
        };
        let names = comments.iter().filter_map(|line| {
            Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned())
        });
        let counters = names.collect();
        Self { samples: samples.iter().map(sample).collect(), counters }
    }

    fn printed(sandbox: &Sandbox) -> Self {
        Self::of(&sandbox.ok("lbctl", &["metrics"]).stdout)
    }

    fn start(&self) -> Option<f64> {
        self.samples.get("pipip_session_start_timestamp_seconds").copied()
    }

    fn counts(&self) -> impl Iterator<Item = (&String, f64)> {
        let is_counter = |name: &str| {
            let family = name.split('{').next().unwrap();
            self.counters.iter().any(|counter| counter == family)
        };
        self.samples.iter().filter(move |(name, _)| is_counter(name)).map(|(name, it)| (name, *it))
    }
}

/// Serves; returns where.
fn serve(sandbox: &Sandbox, listen: &str) -> (Process, SocketAddr) {
    let process = sandbox.start("lbctl", &["metrics", "--listen", listen]);
    let address = || {
        let said = process.stderr();
        let (_, rest) = said.split_once("serving http://")?;
        rest.split_once("/metrics\n")?.0.parse().ok()
    };
    sandbox.wait_until("it serves", || address().is_some());
    let address = address().unwrap();
    (process, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends this, and returns all that is answered.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // Who has seen enough of it hangs up.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn scrape(address: SocketAddr) -> Scrape {
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    Scrape::of(body)
}

/// A service with a COMMAND that waits, and messages of which one is dead.
fn work(sandbox: &Sandbox) -> Process {
    let script =
        r#"[ "$LB_INDEX" != 1 ] || exit 65; while [ ! -e "$OUT/go" ]; do sleep 0.01; done"#;
    let balancer = sandbox.start_work(&["--serve", "2"], &["sh", "-c", script]);
    sandbox.ok("client", &["Halo A;10"]);
    sandbox.wait_for_executed(1, 1);
    for k in [1, 2] {
        sandbox.wait_until("an attempt", || sandbox.in_hand(k).is_some());
    }
    balancer
}

fn drain(sandbox: &Sandbox, mut balancer: Process, code: i32) {
    sandbox.note("go");
    sandbox.wait_until("nothing is in hand", || {
        sandbox.in_hand(1).is_none() && sandbox.in_hand(2).is_none()
    });
    let ended = sandbox.end_by(&mut balancer, Signal::SIGTERM);
    sandbox.assert_code(&ended, code);
    let _ = sandbox.take_letters();
    sandbox.assert_clean();
}

#[test]
fn what_is_going_on_is_what_they_say() {
    let sandbox = Sandbox::default();
    let nothing = Scrape::printed(&sandbox);
    assert_eq!(nothing.samples["pipip_up"].to_bits(), 0.0_f64.to_bits(), "{nothing:?}");
    assert_eq!(nothing.start(), None);
    let balancer = work(&sandbox);
    let seen = Scrape::printed(&sandbox);
    let expected = [
        ("pipip_up", 1),
        ("pipip_submissions_total", 1),
        ("pipip_messages_accepted_total", 10),
        ("pipip_messages_received_total", 10),
        ("pipip_messages_executed_total", 1),
        ("pipip_messages_dead_total", 1),
        ("pipip_messages_logged_total", 1),
        ("pipip_backlog_messages", 9),
        (r#"pipip_worker_up{worker="1"}"#, 1),
        (r#"pipip_worker_executed_total{worker="1"}"#, 1),
        (r#"pipip_worker_executed_total{worker="2"}"#, 0),
        (r#"pipip_in_hand_attempt{worker="2"}"#, 1),
    ];
    for (name, value) in expected {
        assert_eq!(seen.samples.get(name), Some(&f64::from(value)), "{name}: {seen:#?}");
    }
    drain(&sandbox, balancer, 1);
}

/// Prometheus's own tool; CI has it. Elsewhere what is not run is said.
#[test]
fn promtool_has_no_complaint() {
    let sandbox = Sandbox::default();
    let check = |text: &str| {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            assert!(std::env::var_os("REQUIRE_PROMTOOL").is_none(), "promtool is not installed");
            let _ = writeln!(std::io::stderr(), "promtool_has_no_complaint: not run: no promtool");
            return;
        };
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{text}");
    };
    check(&sandbox.ok("lbctl", &["metrics"]).stdout);
    let balancer = work(&sandbox);
    check(&sandbox.ok("lbctl", &["metrics"]).stdout);
    drain(&sandbox, balancer, 1);
}

#[test]
fn counters_never_fall_within_a_session() {
    let sandbox = Sandbox::default();
    let mut service = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(3));
    let (mut server, address) = serve(&sandbox, "0");
    let mut clients: Vec<_> = (0..8)
        .map(|i| sandbox.start("client", &["--quiet", &format!("Halo {i};200000")]))
        .collect();
    let mut before: Option<Scrape> = None;
    let mut scrapes = 0;
    let is_done = |seen: &Scrape| seen.samples.get("pipip_messages_logged_total") == Some(&1.6e6);
    while !before.as_ref().is_some_and(is_done) {
        let seen = scrape(address);
        if let Some(before) = before.as_ref().filter(|before| before.start().is_some()) {
            assert_eq!(seen.start(), before.start(), "{seen:?}");
            for (name, count) in before.counts() {
                assert!(seen.samples[name] >= count, "{name} was {count}: {seen:#?}");
            }
        }
        before = Some(seen);
        scrapes += 1;
        assert!(scrapes < 100_000, "{before:#?}{}", sandbox.report());
    }
    for client in &mut clients {
        sandbox.assert_code(&sandbox.end(client), 0);
    }
    sandbox.assert_code(&sandbox.end_by(&mut service, Signal::SIGTERM), 0);
    sandbox.assert_code(&sandbox.end_by(&mut server, Signal::SIGTERM), 0);
    sandbox.assert_clean();
}

/// Also of one second.
#[test]
fn two_sessions_are_told_apart() {
    let sandbox = Sandbox::default();
    let mut starts = Vec::new();
    for text in ["a", "b", "c"] {
        sandbox.ok("client", &[&format!("{text};1")]);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let start = Scrape::printed(&sandbox).start().unwrap();
        assert!(start <= now && now - start < 60.0, "{start} {now}");
        starts.push(start);
        sandbox.ok("loadbalancer", &["1"]);
        assert_eq!(Scrape::printed(&sandbox).start(), None);
    }
    assert!(starts[0] < starts[1] && starts[1] < starts[2], "{starts:?}");
    sandbox.assert_clean();
}

// As a file.

/// A shell command line, in which `$LBCTL` and `$FILE` are what they say.
fn textfile(sandbox: &Sandbox, script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(sandbox.dir()).stdin(Stdio::null());
    command.env("LBCTL", sandbox.command("lbctl", &[]).get_program());
    command.env("FILE", sandbox.out().join("metrics/pipip.prom"));
    let _ = fs::create_dir(sandbox.out().join("metrics"));
    sandbox.start_command(command, script)
}

fn files(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.out().join("metrics")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_there_whole_or_not_at_all_and_others_may_read_it() {
    let sandbox = Sandbox::default();
    sandbox.ok("client", &["Halo A;10"]);
    let path = sandbox.out().join("metrics/pipip.prom");
    let script = r#"umask 077; for i in 1 2 3 4 5 6 7 8 9 10; do "$LBCTL" metrics --textfile "$FILE" || exit; done"#;
    let mut writers = [textfile(&sandbox, script), textfile(&sandbox, script)];
    let mut reads = 0;
    while writers.iter_mut().any(Process::is_running) {
        if let Ok(text) = fs::read_to_string(&path) {
            let seen = Scrape::of(&text);
            assert_eq!(seen.samples["pipip_backlog_messages"].to_bits(), 10.0_f64.to_bits());
            assert!(seen.samples.contains_key("pipip_up"), "{text}");
            reads += 1;
        }
    }
    assert!(reads > 0);
    for writer in &mut writers {
        sandbox.assert_code(&sandbox.end(writer), 0);
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(files(&sandbox), ["pipip.prom"]);
    sandbox.ok("loadbalancer", &["1"]);
    sandbox.assert_clean();
}

#[rstest]
#[case::missing(r#"exec "$LBCTL" metrics --textfile /nonexistent/pipip.prom"#, "/nonexistent/")]
#[case::no_directory(r#"exec "$LBCTL" metrics --textfile /dev/null/pipip.prom"#, "/dev/null/")]
#[case::no_room(
    r#"(ulimit -f 0; exec "$LBCTL" metrics --textfile "$FILE" 2>&1) | cat"#,
    "File too large"
)]
#[case::a_directory(
    r#"mkdir "$FILE"; "$LBCTL" metrics --textfile "$FILE"; c=$?; rmdir "$FILE"; exit $c"#,
    "pipip.prom"
)]
fn a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(
    #[case] script: &str,
    #[case] why: &str,
) {
    let sandbox = Sandbox::default();
    let ended = sandbox.end(&mut textfile(&sandbox, script));
    let said = ended.stdout.clone() + &ended.stderr;
    assert!(said.contains(why), "{ended:#?}");
    if !script.contains('|') {
        sandbox.assert_code(&ended, 3);
    }
    assert_eq!(files(&sandbox), [""; 0]);
    sandbox.assert_clean();
}

#[test]
fn what_killed_ones_leave_does_not_pile_up() {
    let sandbox = Sandbox::default();
    let script = r#"exec "$LBCTL" metrics --textfile "$FILE""#;
    for i in 0..30 {
        let mut writer = textfile(&sandbox, script);
        // Somewhere between its start and its end.
        std::thread::sleep(Duration::from_micros(i * 300));
        writer.kill();
        assert!(files(&sandbox).len() <= 2, "{:?}", files(&sandbox));
    }
    sandbox.assert_code(&sandbox.end(&mut textfile(&sandbox, script)), 0);
    assert_eq!(files(&sandbox), ["pipip.prom"]);
    sandbox.assert_clean();
}

// Over HTTP.

#[test]
fn where_it_listens() {
    let sandbox = Sandbox::default();
    let (first, address) = serve(&sandbox, "0");
    assert!(address.ip().is_loopback() && address.is_ipv4(), "{address}");
    scrape(address);
    let taken = sandbox.run("lbctl", &["metrics", "--listen", &address.port().to_string()]);
    sandbox.assert_code(&taken, 3);
    assert!(taken.stderr.contains(&address.to_string()), "{taken:#?}");
    assert!(taken.stderr.contains("in use"), "{taken:#?}");
    for nonsense in ["", "localhost", "127.0.0.1", "::1", "70000", "1.2.3.4:x"] {
        sandbox.assert_code(&sandbox.run("lbctl", &["metrics", "--listen", nonsense]), 2);
    }
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let (_second, address) = serve(&sandbox, "[::1]:0");
        assert!(address.is_ipv6());
        scrape(address);
    }
    drop(first);
    sandbox.assert_clean();
}

#[rstest]
#[case(Signal::SIGTERM)]
#[case(Signal::SIGINT)]
fn a_signal_ends_it_also_while_somebody_is_connected(#[case] signal: Signal) {
    let sandbox = Sandbox::default();
    let (mut server, address) = serve(&sandbox, "0");
    let mut half = connect(address);
    half.write_all(b"GET /metr").unwrap();
    scrape(address);
    server.signal(signal);
    let ended = sandbox.end(&mut server);
    sandbox.assert_code(&ended, 0);
    assert_eq!(ended.stdout, "");
    sandbox.assert_clean();
}

#[test]
fn bad_requests_are_refused_and_good_ones_go_on() {
    let sandbox = Sandbox::default();
    let (server, address) = serve(&sandbox, "0");
    let head = |request: &[u8]| ask(address, request).lines().next().unwrap_or_default().to_owned();
    let long = |len: usize| format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(len));
    let (long, too_long) = (long(1000), long(100_000));
    let cases: [(&[u8], &str); 8] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        (b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "405"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n", "400"),
        (b"\0\0\0\0\r\n\r\n", "400"),
        (long.as_bytes(), "200"),
        (too_long.as_bytes(), "431"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", "400"),
    ];
    for (request, code) in cases {
        let answer = head(request);
        let is_closed_or = answer.is_empty() && code == "431"; // bytes that nobody took
        assert!(answer.contains(code) || is_closed_or, "{}: {answer}", request.escape_ascii());
    }
    // Of several at once the first one is answered.
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(ask(address, request.repeat(3).as_bytes()).matches("HTTP/1.1 200 OK").count(), 1);
    let no_body = ask(address, request.replace("GET", "HEAD").as_bytes());
    assert!(no_body.starts_with("HTTP/1.1 200 OK") && no_body.ends_with("\r\n\r\n"), "{no_body}");
    // What cannot be looked at is no empty success.
    fs::create_dir(sandbox.log_path()).unwrap();
    let answer = ask(address, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("is not a regular file"), "{answer}");
    fs::remove_dir(sandbox.log_path()).unwrap();
    scrape(address);
    drop(server);
    sandbox.assert_clean();
}

/// 32 of them made everybody wait, for half a minute.
#[test]
fn slow_connections_keep_nobody_waiting() {
    let sandbox = Sandbox::default();
    let (server, address) = serve(&sandbox, "0");
    let slow: Vec<TcpStream> = (0..200)
        .map(|i| {
            let mut stream = connect(address);
            let begun: &[u8] = if i % 2 == 0 { b"GET /metrics HTTP/1.1\r\nX: " } else { b"" };
            stream.write_all(begun).unwrap();
            let _ = stream.write_all(&vec![b'x'; if i % 4 == 0 { 15_000 } else { 0 }]);
            stream
        })
        .collect();
    for _ in 0..3 {
        scrape(address);
    }
    // It was answered while others were being waited for, and not after they had been given up.
    let mut newest = slow.last().unwrap();
    newest.set_nonblocking(true).unwrap();
    let still_open = newest.read(&mut [0]).unwrap_err();
    assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock);
    let peak = server.memory_peak();
    assert!(peak < 8_000_000, "{peak} bytes");
    drop(server);
    sandbox.assert_clean();
}
