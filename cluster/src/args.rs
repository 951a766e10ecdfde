//! The command line of `cluster`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use common::grammar::rotation::{WorkerId, Workers};
use common::program::work::Work;

use crate::connection::Connection;
use crate::numbers::Numbers;

const EXAMPLES: &str = "\
Examples:
  On each of three hosts, with a worker each:
      cluster loadbalancer --nats nats://a,nats://b,nats://c --run 1 3
  Submit, from anywhere:
      cluster client --nats nats://a,nats://b,nats://c 'Halo A;10'
  Try it out on one server:
      nats-server --jetstream & cluster loadbalancer --replicas 1 3";

const SECTIONS: &str = "\
Exit status:
  0  done
  1  part of it failed: some submissions were not accepted, or messages are dead
  2  wrong usage, or another N than the session's
  3  trouble with the servers, a worker or a file, or a worker's number was taken over
  130, 143, 129  ended by SIGINT, SIGTERM, SIGHUP

Files:
  sistem.log   this host's copy of the log, in DIR: the same bytes on every host
  sistem.dead  likewise, messages whose execution failed for good
  sistem.host  by what name this directory holds worker numbers
  sistem.hand.K  what worker K has in hand, and how often it was tried

See also:
  docs/cluster.md";

/// The same client, load balancer and workers on many hosts, over NATS JetStream.
#[derive(Parser)]
#[command(name = "cluster", version, before_help = EXAMPLES, after_long_help = SECTIONS)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) role: Role,
}

#[derive(Subcommand)]
pub(crate) enum Role {
    /// Submit messages.
    ///
    /// Submits each TEXT;COUNT. Without arguments it reads standard input, a submission a line. Prints `accepted
    /// TEXT;COUNT` for each that is in the stream, and so not to be lost. Waits for as long as the servers are away.
    Client(Client),
    /// Write this host's log, and run workers.
    ///
    /// Without --serve it ends the session, with the totals, once at least one submission is processed, nothing is left
    /// and no client is still feeding; else it runs on until SIGINT, SIGTERM or SIGHUP, which end its workers and give
    /// their numbers back.
    Loadbalancer(Loadbalancer),
    /// Execute the messages of worker number K.
    Worker(Worker),
    /// Show what is accepted and executed, and who holds which worker number.
    Status(Status),
    /// Give back the numbers of workers whose hosts are gone.
    ///
    /// Whoever held one finds out by his next word, and ends. A message that he executes until then may be executed
    /// twice, and is counted once.
    Release(Release),
    /// Print the entries of the stream, a JSON object a line.
    Inspect(Inspect),
}

#[derive(clap::Args)]
pub(crate) struct Client {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Say only what goes wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// End once all messages are executed; exit 1 if one of them is dead.
    #[arg(long)]
    pub(crate) wait: bool,
    /// What to submit: a text, `;`, and how many messages carry it.
    #[arg(value_name = "TEXT;COUNT")]
    pub(crate) submissions: Vec<OsString>,
}

#[derive(clap::Args)]
pub(crate) struct Loadbalancer {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Where this host's sistem.log is.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Run on after a session's end, and end none.
    #[arg(long)]
    pub(crate) serve: bool,
    /// Which workers to run here: `all`, `none`, or numbers like 1,4-6. Without it those that nobody holds.
    #[arg(long, value_name = "LIST")]
    pub(crate) run: Option<Numbers>,
    /// Also run workers here whose holders say nothing for 15 s although messages wait for them.
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Have the log on the disk (fdatasync) after each batch.
    #[arg(long)]
    pub(crate) durable: bool,
    /// Say only what goes wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// How many workers share the session's messages, on all hosts together.
    #[arg(value_name = "N")]
    pub(crate) workers: Workers,
    #[command(flatten)]
    pub(crate) work: Work,
}

#[derive(clap::Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Where what it has in hand is kept, and the locks of its attempts.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Print each message as it is executed: TEXT;INDEX.
    #[arg(long, conflicts_with = "command")]
    pub(crate) echo: bool,
    /// Take the number although somebody holds it who says nothing for 15 s while messages wait for him.
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Set by the load balancer for the workers it starts: end when it does.
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) spawned_by: Option<u32>,
    /// Say only what goes wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// This worker's number, from 1 to the load balancers' N.
    #[arg(value_name = "K")]
    pub(crate) number: WorkerId,
    #[command(flatten)]
    pub(crate) work: Work,
}

#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Release {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Which workers' numbers.
    #[arg(value_name = "K", required = true)]
    pub(crate) workers: Vec<WorkerId>,
}

#[derive(clap::Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) connection: Connection,
}
