//! `lbctl dead`: messages whose execution failed for good, and what is done about them.

mod letters;
mod settle;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use common::advice;
use common::dead::Letter;
use common::error::{Error, exit, report};
use common::fence::signals;
use common::instance::Directory;
use common::naming::MessageId;
use common::settled::Fate;

use settle::Settler;

/// Look at dead letters, submit them again, or drop them.
///
/// Exit status: 0 done; 1 some of the IDs are no such letters; 2 none is, or usage; 3 trouble with IPC, a file or
/// standard output.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the letters about which nothing was done yet, a line each.
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON Lines.
        #[arg(long)]
        json: bool,
    },
    /// Print all of a letter, also of one that was submitted again or dropped.
    Show {
        #[command(flatten)]
        place: Place,
        /// Which letter.
        id: MessageId,
    },
    /// Submit the text of each letter again. Killed, it may be repeated: nothing is submitted twice.
    Retry {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// Take letters off the list. They stay in the file.
    Drop {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(clap::Args)]
struct Place {
    /// The directory whose dead letters to look at.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(clap::Args)]
#[group(required = true)]
struct Which {
    /// Which letters. They are taken in the order in which they died.
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    /// All about which nothing was done yet.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// Does what was asked for. Returns the exit code.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    report("lbctl", perform(&args.command))
}

fn perform(command: &Command) -> Result<u8, Error> {
    signals::start_clean().map_err(Error::system("sigaction"))?;
    let open = |Place { dir }: &Place| {
        advice::give(dir, None);
        Directory::open(dir)
    };
    match command {
        Command::List { place, json } => letters::list(&open(place)?, *json).map(|()| 0),
        Command::Show { place, id } => letters::show(&open(place)?, *id),
        Command::Retry { place, which } => settle(&open(place)?, which, Settler::submit),
        Command::Drop { place, which } => settle(&open(place)?, which, Settler::drop),
    }
}

/// How many letters were dealt with, and how many could not be.
#[derive(Default)]
struct Tally {
    done: u64,
    failed: u64,
}

impl Tally {
    fn exit_code(&self) -> u8 {
        match self {
            Self { failed: 0, .. } => 0,
            Self { done: 0, .. } => exit::USAGE,
            _ => exit::PARTLY,
        }
    }
}

/// Deals with those letters.
fn settle(
    directory: &Directory,
    which: &Which,
    deal_with: fn(&mut Settler, &Letter) -> Result<bool, Error>,
) -> Result<u8, Error> {
    let mut unseen: HashSet<MessageId> = which.ids.iter().copied().collect();
    let (mut tally, mut settler) = (Tally::default(), None);
    letters::each(directory, |letter, fate| {
        // What a kill cut short is finished.
        let is_unsettled = fate.is_none_or(|fate| fate == Fate::Retrying);
        let is_asked_for = if which.all { is_unsettled } else { unseen.remove(&letter.id) };
        if !is_asked_for {
            return Ok(());
        }
        // Not before there is something to do: it makes files.
        if settler.is_none() {
            settler = Some(Settler::new(directory.path())?);
        }
        let Some(settler) = &mut settler else { return Ok(()) };
        let is_done = deal_with(settler, &letter)?;
        tally.done += u64::from(is_done);
        tally.failed += u64::from(!is_done);
        Ok(())
    })?;
    settler.map_or(Ok(()), Settler::end)?;
    // In the order in which they were given.
    for id in which.ids.iter().filter(|id| unseen.remove(id)) {
        tell_unknown(directory.path(), *id);
        tally.failed += 1;
    }
    Ok(tally.exit_code())
}

fn tell_unknown(dir: &Path, id: MessageId) {
    let path = dir.join(common::dead::NAME);
    let list = advice::command("lbctl dead list", "");
    common::tell!("lbctl: {id}: {} has no such letter; see `{}`", path.display(), list.trim_end());
}
