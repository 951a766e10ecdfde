//! The command line of `loadbalancer`. `cargo xtask dist` makes the man page and the completions from it, too.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Parser;
use clap::builder::UnknownArgumentValueParser;
use common::grammar::rotation::Workers;
use common::program::advice;
use common::program::work::Work;

const EXAMPLES: &str = "\
Examples:
  Share the messages among three workers, and end when all is done:
      loadbalancer 3
  Run a program for each message, up to three more times if it fails:
      loadbalancer --retries 3 --timeout 30s 2 -- sh -c 'echo \"$1\"' sh {}
  Keep a program for each worker, which answers a line with a line:
      loadbalancer --lines 3 -- python3 handler.py
  Run on as a service, and begin another log after every 100 MB:
      loadbalancer --serve --rotate 100M 3";

const SECTIONS: &str = "\
Units:
  TIME is in seconds, or has a unit: 90, 1.5, 500ms, 2m; at most a year.
  SIZE is in bytes, or has a unit: 100M, 2GiB.

Exit status:
  0  done
  1  done, but some messages are dead: `lbctl dead list` shows them
  2  wrong usage, no such COMMAND, or another N than the unfinished session's
  3  trouble with IPC, a worker or a file, or COMMAND cannot be run
  130, 143, 129  ended by a second SIGINT, SIGTERM, SIGHUP; the first one drains

Files:
  sistem.log   the log, in DIR
  sistem.dead  messages whose execution failed for good, in DIR

See also:
  client(1), worker(1), lbctl(1), lbctl-verify(1), lbctl-dead(1)";

/// Log every submitted message and forward it round-robin to N workers.
///
/// It starts the workers, and ends once at least one submission is processed, nothing is left and no client is still
/// feeding. A session that a killed load balancer left unfinished is finished first. SIGINT, SIGTERM or SIGHUP drain:
/// what was accepted is still processed. A second one ends it, and what is unfinished stays for the next start.
#[derive(Parser)]
#[command(name = "loadbalancer", version, before_help = EXAMPLES, after_long_help = SECTIONS)]
pub(crate) struct Args {
    /// The directory whose sistem.log and clients to use.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Run on until SIGINT, SIGTERM or SIGHUP.
    #[arg(long)]
    pub(crate) serve: bool,
    /// Rename the log to sistem.log.1 (or the next number) once it is so long: the session is ended with its
    /// totals, and the next one begins another log. SIGUSR1 and `lbctl rotate` ask for the same.
    #[arg(long, value_name = "SIZE", requires = "serve", value_parser = size)]
    pub(crate) rotate: Option<u64>,
    /// End at once, with 0, if nothing is unfinished, instead of waiting for a submission.
    #[arg(long, conflicts_with = "serve")]
    pub(crate) no_wait: bool,
    /// Wait for workers started by hand instead of starting them.
    #[arg(long, conflicts_with = "command")]
    pub(crate) no_spawn: bool,
    /// Have each of its own appends on the disk (fdatasync) before it goes on, and the whole log, also
    /// what workers wrote, before it removes the ledger and ends; and dead letters before they count.
    #[arg(long)]
    pub(crate) durable: bool,
    /// Set an unfinished session aside first: its log is renamed to sistem.log.1 (or the next
    /// number), its IPC objects are removed.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Say only what goes wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// The worker program to start, if not the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) worker_program: Option<PathBuf>,
    /// How many workers share the messages, from 1 to 256.
    #[arg(value_name = "N")]
    pub(crate) workers: Workers,
    /// What people type who know `cargo xtask e2e`.
    #[arg(long = "workers", value_name = "N", hide = true, value_parser = n_alone())]
    _not_workers: Option<String>,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Refuses it, and says what to type.
fn n_alone() -> UnknownArgumentValueParser {
    let right = advice::command("loadbalancer", 3);
    UnknownArgumentValueParser::suggest(format!("the number of workers stands alone: `{right}`"))
}

fn size(text: &str) -> Result<u64, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(bytes @ 1..)) => Ok(bytes),
        _ => Err("is no size, like 100M or 2GiB".to_owned()),
    }
}
