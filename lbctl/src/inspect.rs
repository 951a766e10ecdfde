//! `lbctl inspect`: what a directory's ledger and queues hold, as JSON. Only looks: nothing is
//! made or changed, and no lock is taken, so that it may be asked at any moment, also of a session
//! whose processes were stopped in the middle of something.

mod everyone;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::error::{Error, report};
use common::fence::message_queue::MessageQueue;
use common::grammar::LOG_NAME;
use common::grammar::rotation::WorkerId;
use common::instance::directory::{self, Directory};
use common::instance::objects;
use common::ledger::Ledger;
use common::ledger::bell::Bell;
use common::ledger::cursors::Cursors;
use common::ledger::record::Record;
use common::queue;
use serde_json::{Value, json};

use crate::objects::IpcObject;
use crate::snapshot::Onlooker;

/// The version of what is printed.
const FORMAT_VERSION: u32 = 2;
/// So many unfinished submissions are listed.
const SUBMISSIONS_LISTED_MAX: usize = 20;

/// Print what a directory's ledger and queues hold.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  All that the shared memory of this directory's session holds, as JSON:
      lbctl inspect
  Whose IPC objects there are, also of directories that are gone:
      lbctl inspect --all",
    after_long_help = "\
Exit status:
  0  done
  2  wrong usage
  3  there is no such directory, or standard output cannot be written

Files:
  sistem.log  the log, in DIR

See also:
  lbctl(1), lbctl-status(1), ipcs(1)"
)]
pub struct Args {
    /// The directory whose ledger to look at.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// List the ledgers of all directories of this user, also of deleted ones, and how to remove each.
    #[arg(long, conflicts_with = "dir")]
    all: bool,
}

/// Prints what was asked for. Returns the exit code.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let print = || {
        if args.all {
            return crate::terminal::print_json(&everyone::dump());
        }
        Directory::open(&args.dir)?;
        crate::terminal::print_json(&dump(&args.dir))
    };
    report("inspect", print().map(|()| 0))
}

/// Everything that is known about a directory's session. What cannot be read is an `error` in its
/// place, and `ledger` is null where there is none.
pub fn dump(dir: &Path) -> Value {
    let log = std::fs::metadata(dir.join(LOG_NAME));
    let ledger = Directory::open(dir).map(|directory| objects::find_ledger(&directory));
    json!({
        "version": FORMAT_VERSION,
        "directory": dir,
        "state": state(dir),
        "log_len": log.as_ref().map(std::fs::Metadata::len).ok(),
        "objects": objects(dir),
        "ledger": match ledger {
            Ok(Ok(found)) => found.as_ref().map_or(Value::Null, describe),
            Ok(Err(error)) | Err(error) => json!({ "error": error.to_string() }),
        },
    })
}

/// As `lbctl status` has it; or why what is there cannot be seen from here.
fn state(dir: &Path) -> Value {
    let looked = Onlooker::new(dir).and_then(|mut onlooker| onlooker.look());
    or_error(looked.map(|snapshot| snapshot.state))
}

fn objects(dir: &Path) -> Value {
    match IpcObject::of(dir) {
        Ok(objects) => {
            let mark = Directory::open(dir).ok().map(|directory| directory::mark(directory.id()));
            objects.into_iter().map(|it| object(it, mark)).collect()
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn object(object: IpcObject, mark: Option<i64>) -> Value {
    match object {
        IpcObject::Segment { id, key } => json!({ "kind": "segment", "id": id, "key": key }),
        IpcObject::Queue { id, key } => {
            json!({ "kind": "queue", "id": id, "key": key, "holds": queue(id, mark) })
        }
    }
}

fn describe(ledger: &Ledger) -> Value {
    if !ledger.is_published() {
        return json!({ "segment": ledger.segment_id(), "error": "it was never published" });
    }
    let cursors = ledger.cursors();
    let pending = ledger.pending().map(|p| p.map(|(from, to)| json!({ "from": from, "to": to })));
    json!({
        "segment": ledger.segment_id(),
        "session": format!("{:016x}", ledger.session()),
        "received": ledger.received(),
        "watched": ledger.is_watched(),
        "bells": {
            "doorbell": bell(ledger.doorbell()),
            "space": bell(ledger.space()),
        },
        "unfinished": cursors.as_ref().map_or_else(|_| vec![], |at| unfinished(ledger, at)),
        "workers": workers(ledger, cursors.as_ref().ok()),
        "cursors": or_error(cursors),
        "pending": or_error(pending),
    })
}

fn bell(bell: &Bell) -> Value {
    json!({ "rung": bell.look(), "sleeper": bell.has_sleeper() })
}

fn or_error<T: serde::Serialize>(value: Result<T, Error>) -> Value {
    match value {
        Ok(value) => json!(value),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// The submissions that are not logged to their last line, from the oldest on.
fn unfinished(ledger: &Ledger, at: &Cursors) -> Vec<Value> {
    let mut position = at.head;
    let (mut submissions, mut record) = (Vec::new(), Record::default());
    while position < at.tail && submissions.len() < SUBMISSIONS_LISTED_MAX {
        match ledger.read_record(position, &mut record) {
            Ok(()) => {
                // Those before are in the log to their last line.
                let logged = if position == at.head { at.index as usize } else { 0 };
                let left = SUBMISSIONS_LISTED_MAX - submissions.len();
                let waiting = record.iter().skip(logged).take(left);
                submissions.extend(waiting.map(|submission| json!(submission.to_string())));
                position += record.ring_len();
            }
            Err(error) => {
                submissions.push(json!({ "at": position, "error": error.to_string() }));
                break;
            }
        }
    }
    submissions
}

/// The session's workers, and whoever else has come.
fn workers(ledger: &Ledger, at: Option<&Cursors>) -> Vec<Value> {
    let n = at.map_or(0, |at| at.workers);
    let mark = ledger.identity().ok().map(|of| directory::mark(of.directory));
    WorkerId::all()
        .filter(|&worker| u64::from(worker.get()) <= n || ledger.cell(worker).queue().0 > 0)
        .map(|worker| {
            let (generation, id) = ledger.cell(worker).queue();
            json!({
                "worker": worker.get(),
                "executed": ledger.cell(worker).executed(),
                "in_hand": ledger.cell(worker).in_hand(ledger.cell(worker).executed()),
                "finished": ledger.cell(worker).is_done(),
                "generation": generation,
                "queue": if id < 0 { Value::Null } else { queue(id, mark) },
            })
        })
        .collect()
}

/// What is in it, but for the message that marks it.
fn queue(id: i32, mark: Option<i64>) -> Value {
    let load = match mark {
        Some(mark) => queue::load(MessageQueue(id), mark),
        None => MessageQueue(id).stat(),
    };
    match load {
        Ok(load) => json!({ "id": id, "messages": load.messages, "bytes_max": load.bytes_max }),
        Err(error) => json!({ "id": id, "error": error.to_string() }),
    }
}
