//! The command line of `worker`. `cargo xtask dist` makes the man page and the completions from it, too.

use std::path::PathBuf;

use clap::Parser;
use common::grammar::rotation::WorkerId;
use common::program::work::Work;

const EXAMPLES: &str = "\
Examples:
  Be worker 1 of a load balancer that was started with --no-spawn:
      worker --echo 1
  Be worker 2, and run a program for each message:
      worker 2 -- sh -c 'echo \"$1\"' sh {}";

const SECTIONS: &str = "\
Units:
  TIME is in seconds, or has a unit: 90, 1.5, 500ms, 2m; at most a year.

Environment of COMMAND:
  LB_ID       names the message, the same in every attempt
  LB_INDEX    its number in its submission
  LB_WORKER   K
  LB_ATTEMPT  counts from 1
  With --lines only LB_WORKER is set.

Exit status of COMMAND:
  0         the message is done, and counts
  65, 100   it is dead, and counts; a letter is written
  126, 127  COMMAND cannot be run: nothing counts, the worker ends with 3
  others    tried again, as often as --retries says, then dead

Exit status:
  0  the total is logged
  2  wrong usage, or K above the load balancer's N
  3  trouble with IPC, the load balancer or a file, or COMMAND cannot be run
  130, 143, 129  ended by SIGINT, SIGTERM, SIGHUP

Files:
  sistem.log   the log, in DIR
  sistem.dead  messages whose execution failed for good, in DIR

See also:
  loadbalancer(1), client(1), lbctl(1)";

/// Execute the messages that the load balancer sends to worker K.
///
/// The load balancer starts its workers itself, unless it runs with --no-spawn. A worker that is started by hand may
/// come before it, and outlives one that dies: the next one finds it waiting.
#[derive(Parser)]
#[command(name = "worker", version, before_help = EXAMPLES, after_long_help = SECTIONS)]
pub(crate) struct Args {
    /// The directory whose sistem.log and load balancer to use.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Print each message as it is executed: TEXT;INDEX.
    #[arg(long, conflicts_with = "command")]
    pub(crate) echo: bool,
    /// Have dead letters on the disk (fdatasync) before they count.
    #[arg(long)]
    pub(crate) durable: bool,
    /// Set by the load balancer for the workers it starts: end when it does.
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) spawned_by: Option<u32>,
    /// Likewise: a progress bar is on the terminal.
    #[arg(long, hide = true)]
    pub(crate) beside_bar: bool,
    /// Say only what goes wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// This worker's number, from 1 to the load balancer's N.
    #[arg(value_name = "K")]
    pub(crate) worker: WorkerId,
    #[command(flatten)]
    pub(crate) work: Work,
}
