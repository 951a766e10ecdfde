//! The command line of `lbctl dead`.

use std::path::PathBuf;

use clap::Subcommand;
use common::grammar::message_id::MessageId;

const SECTIONS: &str = "\
Exit status:
  0  done
  1  some of the IDs are no such letters
  2  none is, or wrong usage
  3  trouble with IPC, a file or standard output

Files:
  sistem.dead  the letters, in DIR

See also:
  lbctl(1), lbctl-dead(1), loadbalancer(1), client(1)";

/// Look at dead letters, submit them again, or drop them.
///
/// A dead letter is a message whose execution failed for good.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  What failed for good, and all that is known of one of them:
      lbctl dead list
      lbctl dead show 00000000000000aa-1
  Submit all of it again, or one message:
      lbctl dead retry --all
      lbctl dead retry 00000000000000aa-1",
    after_long_help = SECTIONS
)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the letters about which nothing was done yet, a line each.
    #[command(
        before_help = "\
Examples:
  A line for each letter:
      lbctl dead list
  How many there are:
      lbctl dead list --json | wc -l",
        after_long_help = SECTIONS
    )]
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON Lines.
        #[arg(long)]
        json: bool,
    },
    /// Print all of a letter, also of one that was submitted again or dropped.
    #[command(
        before_help = "\
Examples:
  All that is known of a letter:
      lbctl dead show 00000000000000aa-1",
        after_long_help = SECTIONS
    )]
    Show {
        #[command(flatten)]
        place: Place,
        /// Which letter.
        id: MessageId,
    },
    /// Submit the text of each letter again. Killed, it may be repeated: nothing is submitted twice.
    #[command(
        before_help = "\
Examples:
  Submit all letters again, once the cause is mended:
      lbctl dead retry --all
  Or only these:
      lbctl dead retry 00000000000000aa-1 00000000000000aa-4",
        after_long_help = SECTIONS
    )]
    Retry {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// Take letters off the list. They stay in the file.
    #[command(
        before_help = "\
Examples:
  Take a letter off the list:
      lbctl dead drop 00000000000000aa-1",
        after_long_help = SECTIONS
    )]
    Drop {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(clap::Args)]
pub(super) struct Place {
    /// The directory whose dead letters to look at.
    #[arg(long, default_value = ".")]
    pub(super) dir: PathBuf,
}

#[derive(clap::Args)]
#[group(required = true)]
pub(super) struct Which {
    /// Which letters. They are taken in the order in which they died.
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<MessageId>,
    /// All about which nothing was done yet.
    #[arg(long, conflicts_with = "ids")]
    pub(super) all: bool,
}
