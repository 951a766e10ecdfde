//! `lbctl status`: what a directory's instance is doing now.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::{CellAlignment, Table, presets};
use common::error::report;
use common::ledger::cell::HandState;
use common::program::advice;

use crate::snapshot::{
    InHand, Onlooker, Process, Seen, Session, SessionState, Snapshot, State, Worker,
};
use crate::terminal::{counted, grouped, print, print_json, span};

/// Tell what a directory's load balancer and workers are doing.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  What is going on in this directory:
      lbctl status
  For a script, whether a load balancer is running:
      lbctl status --json | jq -e '.state == \"running\"'",
    after_long_help = "\
Exit status:
  0  done
  2  wrong usage
  3  there is no such directory, or it cannot be looked at

Files:
  sistem.log  the log, in DIR

See also:
  lbctl(1), lbctl-watch(1), lbctl-metrics(1)"
)]
pub struct Args {
    /// The directory to look at.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Print it as JSON; its `version` says what to expect.
    #[arg(long)]
    json: bool,
}

/// Prints what was asked for. Returns the exit code.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    advice::give(&args.dir, None);
    let print = || {
        let snapshot = Onlooker::new(&args.dir)?.look()?;
        if args.json { print_json(&snapshot) } else { print(&text(&snapshot)) }
    };
    report("lbctl", print().map(|()| 0))
}

fn text(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    row("directory", snapshot.directory.display().to_string());
    row("log", snapshot.log_bytes.map_or("none".to_owned(), |bytes| counted(bytes, "byte")));
    row("balancer", balancer(snapshot));
    match &snapshot.session {
        None => row("session", no_session(snapshot.state)),
        Some(session) => {
            row("session", self::session(session));
            row("messages", messages(session));
            row("backlog", backlog(session));
        }
    }
    if snapshot.client_is_open {
        row("client", "one is open, and may submit more".to_owned());
    }
    if !snapshot.workers.is_empty() {
        let _ = write!(text, "\n{}\n", workers(&snapshot.workers));
    }
    text
}

fn balancer(snapshot: &Snapshot) -> String {
    let workers = |n: u32| counted(n.into(), "worker");
    let is = process(&snapshot.balancer.process);
    match (snapshot.balancer.workers, &snapshot.session) {
        (Some(n), _) => format!("{is}; for {}", workers(n)),
        (None, Some(session)) => {
            let n = session.workers.map_or("N".to_owned(), |n| n.to_string());
            format!("{is}; `{}` finishes the session", advice::command("loadbalancer", n))
        }
        (None, None) => is,
    }
}

fn no_session(state: State) -> String {
    if state == State::LedgerMissing {
        let again = advice::command("loadbalancer", "N");
        return format!(
            "not finished in the log, and its ledger is not here: it went with a reboot, or is in another IPC \
             namespace; `{again}` reads it back"
        );
    }
    "none: all that was submitted is finished".to_owned()
}

fn process(process: &Process) -> String {
    match process {
        Process::NotRunning => "not running".to_owned(),
        Process::Running(seen) => {
            format!("process {}, {}", seen.pid, since(seen.since, seen.seconds))
        }
        Process::Stopped(Seen { pid, .. }) => {
            format!("process {pid}, stopped by a signal; `kill -CONT {pid}` has it go on")
        }
        Process::Hidden => "running; which process cannot be seen from here".to_owned(),
    }
}

fn since(since: SystemTime, seconds: f64) -> String {
    format!("since {} ({})", humantime::format_rfc3339_seconds(since), span(seconds))
}

fn session(session: &Session) -> String {
    let Session { id, state, seconds, .. } = session;
    let closing = match state {
        SessionState::Open => "",
        SessionState::Closing => "; closing: nothing more is accepted in it",
    };
    format!("{id}, {}{closing}", since(session.since, *seconds))
}

fn messages(session: &Session) -> String {
    let Session { accepted, received, executed, logged, dead, .. } = session;
    let [accepted, received, executed, logged, dead] =
        [accepted, received, executed, logged, dead].map(|&number| grouped(number));
    format!(
        "{accepted} accepted, {received} received, {executed} executed, {logged} logged, {dead} dead"
    )
}

fn backlog(session: &Session) -> String {
    let percent = session.ring_bytes * 100 / session.ring_bytes_max.max(1);
    let [used, most] = [session.ring_bytes, session.ring_bytes_max].map(grouped);
    let messages = counted(session.backlog, "message");
    format!("{messages}; the ledger is {percent}% full ({used} of {most} bytes)")
}

fn workers(workers: &[Worker]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["worker", "process", "executed", "backlog", "in hand", "queue"]);
    for worker in workers {
        table.add_row([
            worker.worker.to_string(),
            worker_process(&worker.process),
            grouped(worker.executed),
            grouped(worker.backlog),
            worker.in_hand.map_or_else(String::new, in_hand),
            worker.queue.map_or_else(String::new, |queue| {
                format!("{} of {} bytes", grouped(queue.bytes), grouped(queue.bytes_max))
            }),
        ]);
    }
    for right in [0, 2, 3, 5] {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn worker_process(process: &Process) -> String {
    match process {
        Process::NotRunning => "not running".to_owned(),
        Process::Running(Seen { pid, seconds, .. }) => format!("{pid}, for {}", span(*seconds)),
        Process::Stopped(Seen { pid, .. }) => format!("{pid}, stopped by a signal"),
        Process::Hidden => "running; not to be seen".to_owned(),
    }
}

fn in_hand(hand: InHand) -> String {
    let InHand { attempt, seconds, .. } = hand;
    match hand.state {
        HandState::Running => format!("attempt {attempt}, for {}", span(seconds)),
        HandState::Pausing => format!("attempt {attempt} failed; the next one follows"),
        HandState::Left => format!("attempt {attempt} was interrupted"),
    }
}
