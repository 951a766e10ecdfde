//! The processes that `bench` itself becomes for a measurement: hidden subcommands.

use std::io;
use std::process::ExitCode;

use common::error::exit;

use super::baseline::{Giver, Taker};
use super::limit::Rewrite;
use super::ping_pong::{PingBalancer, PingClient, PingWorker};
use super::work::pipes::Pipes;

/// What the process is to do.
#[derive(Debug, clap::Subcommand)]
#[command(hide = true)]
pub(super) enum Subprocess {
    /// Write a file anew, and print how long the writes took.
    #[command(hide = true)]
    Rewrite(Rewrite),
    /// Send messages to queues in rotation.
    #[command(hide = true)]
    Giver(Giver),
    /// Receive messages from a queue.
    #[command(hide = true)]
    Taker(Taker),
    /// Pass each line of standard input on through a futex.
    #[command(hide = true)]
    PingClient(PingClient),
    /// Pass each change of the futex word on through a queue.
    #[command(hide = true)]
    PingBalancer(PingBalancer),
    /// Write a line for each message of the queue.
    #[command(hide = true)]
    PingWorker(PingWorker),
    /// Feed handlers of lines through pipes.
    #[command(hide = true)]
    Pipes(Pipes),
}

impl Subprocess {
    pub(super) fn run(&self) -> ExitCode {
        let outcome: io::Result<()> = match self {
            Self::Rewrite(it) => it.run(),
            Self::Giver(it) => it.run(),
            Self::Taker(it) => it.run(),
            Self::PingClient(it) => it.run(),
            Self::PingBalancer(it) => it.run(),
            Self::PingWorker(it) => it.run(),
            Self::Pipes(it) => it.run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                common::tell!("{self:?}: {error}");
                ExitCode::from(exit::TROUBLE)
            }
        }
    }
}
