//! The command lines of the programs, under the names that they are installed by: the same definitions as of their
//! `--help`.

use clap::{Command, CommandFactory};
use common::program::help;

use crate::PREFIX;

#[path = "../../../client/src/args.rs"]
mod client;
#[path = "../../../loadbalancer/src/args.rs"]
mod loadbalancer;
#[path = "../../../worker/src/args.rs"]
mod worker;

/// Of all programs.
pub(crate) fn all() -> [Command; 4] {
    let plain = [
        client::Args::command(),
        loadbalancer::Args::command(),
        worker::Args::command(),
        lbctl::args::Args::command(),
    ];
    plain.map(|command| help::named(command, PREFIX))
}
