//! `lbctl status`: what a directory's instance is doing now.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use common::cell::HandState;
use common::error::report;

use crate::snapshot::{InHand, Onlooker, Process, Session, Snapshot, Worker};
use crate::terminal::{counted, grouped, print, print_json, span};

/// Tell what a directory's load balancer and workers are doing.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  What is going on in this directory:
      lbctl status
  For a script, whether a load balancer is running:
      lbctl status --json | jq '.balancer != null'",
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
    let print = || {
        let snapshot = Onlooker::new(&args.dir)?.look()?;
        if args.json { print_json(&snapshot) } else { print(&text(&snapshot)) }
    };
    report("lbctl", print().map(|()| 0))
}

fn text(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    row("directory", snapshot.directory.display().to_string());
    row("log", snapshot.log_bytes.map_or("none".to_owned(), |bytes| counted(bytes, "byte")));
    row("balancer", balancer(snapshot));
    match &snapshot.session {
        None => row("session", "none: everything that was submitted is finished".to_owned()),
        Some(session) => {
            row("session", messages(session));
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
    let Some(balancer) = &snapshot.balancer else { return "none is running".to_owned() };
    let of = counted(balancer.workers.into(), "worker");
    match balancer.process {
        Some(it) => format!("of {of}, {}", process(it)),
        None => format!("of {of}; which process cannot be seen from here"),
    }
}

fn process(Process { pid, seconds }: Process) -> String {
    format!("process {pid}, for {}", span(seconds))
}

fn messages(session: &Session) -> String {
    let Session { id, accepted, received, executed, dead, .. } = session;
    let [received, executed, dead] = [received, executed, dead].map(|&number| grouped(number));
    let closing = if session.closing { "; closing" } else { "" };
    let accepted = counted(*accepted, "message");
    format!(
        "{id}: {accepted} accepted, {received} received, {executed} executed, {dead} dead{closing}"
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
    table.set_header(["worker", "is", "executed", "backlog", "in hand", "queue"]);
    for worker in workers {
        table.add_row([
            worker.worker.to_string(),
            match (worker.alive, worker.process) {
                (_, Some(it)) => process(it),
                (true, None) => "running".to_owned(),
                (false, None) => "not running".to_owned(),
            },
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

fn in_hand(hand: InHand) -> String {
    let since = span(hand.seconds);
    match hand.state {
        HandState::Running => format!("attempt {}, for {since}", hand.attempt),
        HandState::Pausing => format!("attempt {} failed; the next one follows", hand.attempt),
        HandState::Left => format!("attempt {} was interrupted", hand.attempt),
    }
}
