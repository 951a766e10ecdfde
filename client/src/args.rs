//! The command line of `client`. `cargo xtask dist` makes the man page and the completions from it, too.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  Submit \"Halo A\", ten times:
      client 'Halo A;10'
  Submit a message for each line, and end once all are executed:
      printf '%s;1\\n' *.jpg | client --wait
  Submit to the load balancer of another directory:
      client --dir /srv/jobs 'Halo A;10'";

const SECTIONS: &str = "\
Exit status:
  0  all are accepted, and with --wait: executed
  1  some are not accepted, or with --wait: some are dead
  2  none is accepted, since they are invalid; or wrong usage
  3  trouble with IPC or a file; those that it printed are accepted
  SIGINT, SIGTERM and SIGHUP kill it.

Files:
  sistem.log  the log, in DIR

See also:
  loadbalancer(1), worker(1), lbctl(1)";

/// Submit messages to the load balancer of a directory.
///
/// Each TEXT;COUNT stands for COUNT messages that carry TEXT. It prints `accepted TEXT;COUNT` for each one that is
/// logged and cannot be lost any more. The load balancer may be started before or after.
#[derive(Parser)]
#[command(name = "client", version, before_help = EXAMPLES, after_long_help = SECTIONS)]
pub(crate) struct Args {
    /// The directory whose sistem.log and load balancer to use.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Say only what goes wrong, and print no `accepted …` lines.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Have each acceptance on the disk (fdatasync) before it is printed.
    #[arg(long)]
    pub(crate) durable: bool,
    /// End only once all of its messages are executed.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Submissions: a text of 1 to 4096 bytes, and a count from 1 to 1000000000, after the last `;`. Without any they
    /// are read from standard input, one a line.
    #[arg(value_name = "TEXT;COUNT")]
    pub(crate) submissions: Vec<OsString>, // judged by us, who name the byte that is not UTF-8
}
