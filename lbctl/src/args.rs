//! The command line of `lbctl`. `cargo xtask dist` makes the man pages and the completions from it, too; so what the
//! commands of the feature `full` take is here, and can be had without it. The others' is with them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{dead, inspect, rotate, status, verify};

const EXAMPLES: &str = "\
Examples:
  What is going on in this directory, once and live:
      lbctl status
      lbctl watch
  Whether a log is right, and its first wrong line if it is not:
      lbctl verify sistem.log
  What failed for good, and all of that once more:
      lbctl dead list
      lbctl dead retry --all";

const SECTIONS: &str = "\
Exit status:
  0  done, and for verify: nothing is wrong
  1  dead: only some of the letters could be dealt with
  2  wrong usage
  3  trouble with a file, the directory, IPC or standard output
  4  verify: something is wrong with the log

Files:
  sistem.log   the log, in DIR
  sistem.dead  messages whose execution failed for good, in DIR

See also:
  lbctl-status(1), lbctl-watch(1), lbctl-metrics(1), lbctl-verify(1),
  lbctl-inspect(1), lbctl-dead(1), lbctl-rotate(1), loadbalancer(1)";

/// Look at the load balancer of a directory, at its log and its dead letters.
#[derive(Parser)]
#[command(name = "lbctl", version, before_help = EXAMPLES, after_long_help = SECTIONS)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Each is described by its arguments, exit codes included.
#[derive(Subcommand)]
#[expect(missing_docs, reason = "a doc comment here would take the place of the description")]
pub enum Command {
    Status(status::Args),
    Watch(Watch),
    Metrics(Metrics),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Dead(dead::Args),
    Rotate(rotate::Args),
}

/// Watch a directory's load balancer and workers, full-screen; q ends it.
///
/// Keys: q, Esc or Ctrl-C end it, Ctrl-Z suspends it; the arrow keys, Page Up, Page Down, Home and End move through the
/// workers. Nothing of what it looks at is changed, and no lock is taken.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  Watch this directory's load balancer:
      lbctl watch
  Watch that of another one:
      lbctl watch --dir /srv/jobs",
    after_long_help = "\
Exit status:
  0  it was ended with a key
  2  wrong usage, or standard output is no terminal that can show it
  3  there is no such directory, or it cannot be looked at
  130, 143, 129  ended by SIGINT, SIGTERM, SIGHUP

Files:
  sistem.log  the log, in DIR

See also:
  lbctl(1), lbctl-status(1)"
)]
pub struct Watch {
    /// The directory to watch.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// Print what is going on as Prometheus metrics.
///
/// Without an option they are printed once. Counters are those of the session that is running: they begin
/// with 0 when another one does, which `pipip_session_start_timestamp_seconds` tells.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  Print the metrics once:
      lbctl metrics
  Serve them at http://127.0.0.1:9300/metrics:
      lbctl metrics --listen 9300
  Leave them to node_exporter, from a timer:
      lbctl metrics --textfile /var/lib/node_exporter/pipip.prom",
    after_long_help = "\
Exit status:
  0  done
  2  wrong usage
  3  there is no such directory, it cannot be looked at, or the metrics cannot
     be written or served

Files:
  sistem.log  the log, in DIR

See also:
  lbctl(1), lbctl-status(1)"
)]
pub struct Metrics {
    /// The directory to look at.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Serve them over HTTP at /metrics, until SIGINT or SIGTERM. A port alone is one of this host's own address,
    /// 127.0.0.1.
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = address, conflicts_with = "textfile")]
    pub(crate) listen: Option<SocketAddr>,
    /// Write them to a file for `node_exporter`'s textfile collector, in one step: it is never half written.
    #[arg(long, value_name = "FILE")]
    pub(crate) textfile: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    port.or_else(|_| text.parse())
        .map_err(|_| "is neither a port nor ADDRESS:PORT, like 127.0.0.1:9300".to_owned())
}
