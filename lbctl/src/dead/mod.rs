//! `lbctl dead`: messages whose execution failed for good, and what is done about them.

mod args;
mod letters;
mod settle;

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use common::dead::Letter;
use common::dead::settled::Fate;
use common::error::{Error, exit, report};
use common::fence::signals;
use common::grammar::message_id::MessageId;
use common::instance::directory::Directory;
use common::program::advice;

pub use args::Args;
use args::{Command, Place, Which};
use settle::Settler;

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
