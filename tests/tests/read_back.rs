//! The log read back when every IPC object is gone: whatever it holds, in little memory; and wherever it
//! ends, also where it may only grow.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::grammar::line;
use common::grammar::rotation::WorkerId;
use common::grammar::submission::Submission;
use common::ledger::record::{RING_FILLED_MAX, Record};
use nix::sys::signal::Signal;
use rstest::rstest;
use tests::oracle::canonical_log;
use tests::{Ended, IpcObject, Sandbox};

const MEBIBYTE: u64 = 1 << 20;
const MEMORY_MAX: u64 = 8 * MEBIBYTE;
const SAMPLE: &str = include_str!("sample.log");

/// Runs a program to its end. It may never have more memory than promised, whatever it reads.
fn run_in_little_memory(sandbox: &Sandbox, program: &str, arg: &str) -> Ended {
    let mut process = sandbox.start(program, &[arg]);
    let mut peak = 0;
    sandbox.wait_until("it ends, or has too much memory", || {
        peak = peak.max(process.memory_peak());
        peak >= MEMORY_MAX || !process.is_running()
    });
    assert!(peak < MEMORY_MAX, "{program}: {peak} bytes of memory");
    sandbox.end(&mut process)
}

/// Zeros, as a file system leaves them after a crash. It took time in the square of their number, too.
#[rstest]
fn a_log_of_one_long_line_took_memory_for_all_of_it(
    #[values("client", "loadbalancer")] program: &str,
    #[values("before it", "behind it", "before it and behind it", "nowhere")] line_end: &str,
) {
    let sandbox = Sandbox::default();
    let mut log = File::create(sandbox.log_path()).unwrap();
    if line_end.starts_with("before") {
        log.write_all(SAMPLE.as_bytes()).unwrap();
    }
    log.set_len(64 * MEBIBYTE).unwrap();
    if line_end.ends_with("behind it") {
        std::os::unix::fs::FileExt::write_all_at(&log, b"\n", 64 * MEBIBYTE).unwrap();
    }
    let len = sandbox.log_len();
    let ended =
        run_in_little_memory(&sandbox, program, if program == "client" { "b;1" } else { "1" });
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("is longer than any of this log's"), "{ended:#?}");
    assert_eq!(sandbox.log_len(), len);
    sandbox.assert_clean();
}

#[rstest]
fn more_submissions_than_a_ledger_holds_were_all_kept_before_they_were_refused(
    #[values("client", "loadbalancer")] program: &str,
) {
    let sandbox = Sandbox::default();
    let log = "Message from client: a\nMessage count: 1\n".repeat(400_000);
    std::fs::write(sandbox.log_path(), &log).unwrap();
    let ended =
        run_in_little_memory(&sandbox, program, if program == "client" { "b;1" } else { "1" });
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("more unfinished submissions than a ledger holds"), "{ended:#?}");
    assert_eq!(sandbox.log_len(), log.len() as u64);
    sandbox.assert_clean();
}

#[test]
fn totals_without_end_were_all_kept() {
    let sandbox = Sandbox::default();
    std::fs::write(sandbox.log_path(), "Worker 1: 1 messages\n".repeat(1_000_000)).unwrap();
    let ended = run_in_little_memory(&sandbox, "client", "b;1");
    sandbox.assert_code(&ended, 3);
    assert!(ended.stderr.contains("at byte 0: expected `Message from client: …`"), "{ended:#?}");
    sandbox.assert_clean();
}

#[rstest]
#[case::short_texts(1)]
#[case::long_texts(4096)]
fn a_full_ledger_is_rebuilt_in_little_memory(#[case] text_len: usize) {
    let sandbox = Sandbox::default();
    let text = "x".repeat(text_len);
    let (mut submissions, mut filled) = (0, 0);
    while filled <= RING_FILLED_MAX {
        let mut record = Record::default();
        while record.push(&Submission::new(text.as_bytes(), 1).unwrap()) {}
        filled += record.ring_len();
        submissions += record.submissions() as u64;
    }
    let mut log = BufWriter::new(File::create(sandbox.log_path()).unwrap());
    for _ in 0..submissions {
        write!(log, "Message from client: {text}\nMessage count: 1\n").unwrap();
    }
    drop(log);
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "1"]);
    sandbox.wait_until("it waits for its worker", || balancer.stderr().contains("worker 1"));
    let peak = balancer.memory_peak();
    assert!(peak < MEMORY_MAX, "{peak} bytes of memory");
    balancer.kill();
    sandbox.ok("loadbalancer", &["1"]);
    assert_eq!(sandbox.sessions()[0].submissions, submissions);
    sandbox.assert_clean();
}

#[test]
fn who_reads_a_long_log_back_heeds_a_signal() {
    let sandbox = Sandbox::default();
    let mut log = b"Message from client: Halo A\nMessage count: 1000000\n".to_vec();
    line::append_received(&mut log, b"Halo A", 1, 1_000_000, usize::MAX);
    std::fs::write(sandbox.log_path(), &log).unwrap();
    std::fs::set_permissions(sandbox.log_path(), PermissionsExt::from_mode(0o600)).unwrap();
    let lock = File::open(sandbox.log_path()).unwrap();
    lock.lock().unwrap();
    let mut balancer = sandbox.start("loadbalancer", &["1"]);
    sandbox.wait_until("it waits", || balancer.stderr().contains("has locked"));
    // The second request aborts: one that comes half a second after the first.
    balancer.signal(Signal::SIGTERM);
    let asked = Instant::now();
    sandbox.wait_until("the next is another one", || asked.elapsed() > Duration::from_secs(1));
    lock.unlock().unwrap();
    let io = format!("/proc/{}/io", balancer.pid());
    let read_len = || {
        let io = std::fs::read_to_string(&io).unwrap();
        io.lines().next().unwrap().strip_prefix("rchar: ").unwrap().parse::<u64>().unwrap()
    };
    sandbox.wait_until("it reads", || read_len() > MEBIBYTE);
    assert!(tests::stop(balancer.pid()));
    if read_len() > log.len() as u64 {
        balancer.kill();
        return; // this test was not scheduled for long: most of it is read
    }
    balancer.signal(Signal::SIGTERM);
    balancer.signal(Signal::SIGCONT);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 143);
    assert!(ended.stderr.contains("aborted before it had"), "{ended:#?}");
    sandbox.assert_clean();
}

/// The first total was written while the other workers were not ready for theirs. It alone looks like the end of
/// a session of one worker: the others were never written.
#[test]
fn totals_of_fewer_messages_than_workers_were_cut_by_a_reboot() {
    let sandbox = Sandbox::default();
    let mut workers = ["1", "2", "3"].map(|k| sandbox.start("worker", &[k]));
    let mut balancer = sandbox.start("loadbalancer", &["--no-spawn", "3"]);
    sandbox.wait_until("they have come", || [1, 2, 3].iter().all(|&k| sandbox.has_worker(k)));
    sandbox.stop(workers[1].pid());
    sandbox.stop(workers[2].pid());
    sandbox.ok("client", &["a;1"]);
    sandbox.assert_code(&sandbox.end(&mut workers[0]), 0);
    let ledger = sandbox.ledger().unwrap();
    assert!(ledger.cell(WorkerId::new(1).unwrap()).is_done());
    drop(ledger);
    balancer.kill();
    workers.iter_mut().for_each(tests::Process::kill);
    sandbox.ipc_objects().into_iter().for_each(IpcObject::remove);

    let log = canonical_log(&[("a", 1)], 3);
    sandbox.assert_log(&log[..log.find("Worker 1: ").unwrap()]);
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(&log);
    sandbox.assert_clean();
}

/// A log that may only grow, as root can have it.
struct AppendOnly(PathBuf);

impl AppendOnly {
    fn set(&self, attribute: &str) -> bool {
        let set = Command::new("chattr").arg(attribute).arg(&self.0).output();
        set.is_ok_and(|output| output.status.success())
    }

    /// With these contents; nothing where the system cannot have such a file.
    fn new(sandbox: &Sandbox, contents: &str) -> Option<Self> {
        std::fs::write(sandbox.log_path(), contents).unwrap();
        // Or it would have to be closed to others first.
        std::fs::set_permissions(sandbox.log_path(), PermissionsExt::from_mode(0o600)).unwrap();
        let log = Self(sandbox.log_path());
        let done = log.set("+a");
        if !done {
            eprintln!("skipped: only root can have an append-only file, and not everywhere");
        }
        done.then_some(log)
    }
}

impl Drop for AppendOnly {
    fn drop(&mut self) {
        self.set("-a");
    }
}

#[rstest]
#[case::received("Received at lb: Halo A (#message 4)\n", 20)]
#[case::only_the_newline_is_missing("Received at lb: Halo A (#message 10)\n", 36)]
#[case::executed("Worker2: message received\n", 9)]
#[case::total("Worker 2: 3 messages\n", 12)]
#[case::last_total("Worker 3: 3 messages\n", 20)]
fn half_a_line_that_could_not_be_cut_off_ended_every_start(#[case] line: &str, #[case] len: usize) {
    let sandbox = Sandbox::default();
    let cut = SAMPLE.find(line).unwrap() + len;
    let Some(_log) = AppendOnly::new(&sandbox, &SAMPLE[..cut]) else { return };
    sandbox.ok("loadbalancer", &["3"]);
    sandbox.assert_log(SAMPLE);
    sandbox.assert_clean();
}

/// What it is the half of cannot be known; or it can, but with it the log would look finished, as with the second of
/// three totals for one message.
#[rstest]
#[case::submission("Message from client: Halo A\nMess")]
#[case::first_line_of_a_submission("Message from client: Halo A\n")]
#[case::fewer_messages_than_workers(
    "Message from client: a\nMessage count: 1\nReceived at lb: a (#message 1)\nWorker1: message received\n\
     Worker 1: 1 messages\nWorker 2: 0"
)]
fn half_a_line_that_may_not_be_completed_is_told(#[case] contents: &str) {
    let sandbox = Sandbox::default();
    let Some(log) = AppendOnly::new(&sandbox, contents) else { return };
    for (program, arg) in [("client", "Halo A;10"), ("loadbalancer", "3")] {
        let ended = sandbox.run(program, &[arg]);
        sandbox.assert_code(&ended, 3);
        assert!(ended.stderr.contains("`chattr -a ./sistem.log`"), "{ended:#?}");
        assert_eq!(sandbox.log(), contents);
    }
    // What the message says.
    log.set("-a");
    let mut balancer = sandbox.start("loadbalancer", &["--serve", "3"]);
    sandbox.wait_until("it serves", || sandbox.has_worker(3));
    sandbox.ok("client", &["Halo A;10"]);
    balancer.signal(Signal::SIGTERM);
    sandbox.assert_code(&sandbox.end(&mut balancer), 0);
    let sessions = sandbox.sessions();
    assert!(sessions.iter().all(|session| session.shares.len() == 3), "{}", sandbox.report());
    sandbox.assert_clean();
}
