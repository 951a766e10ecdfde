//! One writer for each worker number. Whoever takes a number writes the next generation after the last entry of `run.K`
//! that he knows; from then on whatever the one before writes there is refused. So nobody needs a clock to be safe, and
//! one that was cut off finds out by his next word.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use common::dead::Letter;
use common::error::Error;
use common::grammar::rotation::WorkerId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::engine::Engine;
use crate::entry::{self, Dead, Run, SessionNumber, Subject};
use crate::put::{Look, Put, put};
use crate::state::State;

/// A holder says no more often than this what he has executed …
const PAUSE: Duration = Duration::from_millis(50);
/// … and while he is at it no more rarely than this that he lives: three times in the time after which he is silent.
const BEAT: Duration = Duration::from_secs(5);

/// How a number may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// If nobody has it, or this one had it before.
    Free,
    /// Also from somebody who is silent while messages wait for him.
    Silent,
    /// From anyone: an operator says so.
    Any,
}

/// A number that is held.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) worker: WorkerId,
    name: String,
    life: u64,
    pub(crate) generation: u64,
    /// The generation before was this name's, too: nobody else has counted since.
    pub(crate) follows_itself: bool,
    /// The last entries of `run.K` and `dead.K`.
    run_at: u64,
    dead_at: u64,
}

impl Held {
    /// The entry with which it was taken.
    pub(crate) fn since(&self) -> u64 {
        self.run_at
    }

    /// What a holder says of himself.
    fn run(&self, report: &Report) -> Run {
        Run {
            session: report.session,
            generation: self.generation,
            holder: Some(self.name.clone()),
            life: self.life,
            executed: report.executed,
        }
    }

    /// The last letter before that, which only shows once all up to it is read.
    pub(crate) fn with_dead_at(self, dead_at: u64) -> Self {
        Self { dead_at, ..self }
    }
}

/// Who has the number instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken(pub(crate) Option<String>);

/// What a holder has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// In which session.
    pub(crate) session: Option<SessionNumber>,
    pub(crate) executed: u64,
    /// He has more to do.
    pub(crate) is_busy: bool,
}

/// A letter that is to be kept before its message counts, and whom to tell.
pub(crate) struct ToKeep {
    pub(crate) session: SessionNumber,
    pub(crate) letter: Letter,
    pub(crate) kept: oneshot::Sender<()>,
}

/// Takes a number for `name`, or for nobody: then it is given back.
pub(crate) async fn take(
    engine: &impl Engine,
    state: &State,
    worker: WorkerId,
    name: Option<&str>,
    how: Take,
    look: Look,
) -> Result<Result<Held, Taken>, Error> {
    let before = state.holder(worker);
    let is_free = before.name.is_none() || before.name.as_deref() == name;
    if !(is_free || how == Take::Any || how == Take::Silent && state.is_silent(worker)) {
        return Ok(Err(Taken(before.name.clone())));
    }
    let generation = before.generation + 1;
    let life = RandomState::new().hash_one(generation);
    let run = Run {
        session: state.session.number,
        generation,
        holder: name.map(str::to_owned),
        life,
        executed: before.executed,
    };
    let payload = entry::write(&run);
    let subject = Subject::Run(worker);
    Ok(match put(engine, &subject, before.run_at, &payload, look).await? {
        Put::At(run_at) => {
            let follows_itself = before.name.is_some() && before.name.as_deref() == name;
            let name = name.unwrap_or_default().to_owned();
            let dead_at = before.dead_at;
            Ok(Held { worker, name, life, generation, follows_itself, run_at, dead_at })
        }
        Put::Lost(entry) => Err(taken(&entry.payload)),
    })
}

fn taken(payload: &[u8]) -> Taken {
    Taken(entry::read(payload).and_then(|run: Run| run.holder))
}

/// Writes what a holder reports, until nobody reports any more: then the number is given back. Returns early if somebody
/// else has taken it.
pub(crate) async fn hold(
    engine: &impl Engine,
    mut held: Held,
    mut reports: watch::Receiver<Report>,
    mut letters: mpsc::Receiver<ToKeep>,
    look: Look,
) -> Result<Result<(), Taken>, Error> {
    let mut shown = Report::default();
    let mut wrote = Instant::now();
    let mut is_open = true;
    let mut has_letters = true;
    loop {
        let report = reports.borrow_and_update().clone();
        let is_new = (report.session, report.executed) != (shown.session, shown.executed);
        // The first word of all is not urgent, and the last one is.
        let due = match (is_new && report.session.is_some(), report.is_busy) {
            (true, _) => Some(wrote + PAUSE),
            (false, true) => Some(wrote + BEAT),
            (false, false) => None,
        };
        let is_due = due.is_some_and(|due| Instant::now() >= due) || !is_open && is_new;
        if is_due {
            if let Err(taken) = write(engine, &mut held, &report, look).await? {
                return Ok(Err(taken));
            }
            (shown, wrote) = (report, Instant::now());
            continue;
        }
        if !is_open {
            break;
        }
        let letter = tokio::select! {
            letter = letters.recv(), if has_letters => letter.map_or_else(
                || { has_letters = false; None },
                Some,
            ),
            changed = reports.changed() => { is_open = changed.is_ok(); None }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
        };
        let Some(ToKeep { session, letter, kept }) = letter else { continue };
        // What comes before its message counts first.
        let report = reports.borrow_and_update().clone();
        if let Err(taken) = write(engine, &mut held, &report, look).await? {
            return Ok(Err(taken));
        }
        (shown, wrote) = (report, Instant::now());
        let dead = entry::write(&Dead { session, generation: held.generation, letter });
        let subject = Subject::Dead(held.worker);
        loop {
            match put(engine, &subject, held.dead_at, &dead, look).await? {
                Put::At(at) => {
                    held.dead_at = at;
                    break;
                }
                // A late one of an earlier holder counts nothing.
                Put::Lost(entry) if is_older(&entry.payload, held.generation) => {
                    held.dead_at = entry.sequence;
                }
                Put::Lost(_) => return Ok(Err(Taken(None))),
            }
        }
        let _ = kept.send(()); // or whoever waits has ended
    }
    let back = Run { generation: held.generation + 1, holder: None, ..held.run(&shown) };
    let subject = Subject::Run(held.worker);
    Ok(match put(engine, &subject, held.run_at, &entry::write(&back), look).await? {
        Put::At(_) => Ok(()),
        Put::Lost(entry) => Err(taken(&entry.payload)),
    })
}

fn is_older(payload: &[u8], generation: u64) -> bool {
    entry::read::<Dead>(payload).is_none_or(|dead| dead.generation < generation)
}

async fn write(
    engine: &impl Engine,
    held: &mut Held,
    report: &Report,
    look: Look,
) -> Result<Result<(), Taken>, Error> {
    let payload = entry::write(&held.run(report));
    Ok(match put(engine, &Subject::Run(held.worker), held.run_at, &payload, look).await? {
        Put::At(at) => {
            held.run_at = at;
            Ok(())
        }
        Put::Lost(entry) => Err(taken(&entry.payload)),
    })
}
