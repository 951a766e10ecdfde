//! `--wait`: which messages are to be executed before this client ends, and whether one of them is dead.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use common::dead;
use common::error::Error;
use common::grammar::rotation::Workers;
use common::instance::Instance;
use common::instance::line_file::LineFile;
use common::log::journal::Journal;
use common::session::begin::Opened;
use common::session::end;

/// How often a waiting client looks whether the session it waits for is gone.
const TICK: Duration = Duration::from_secs(1);
/// With so many ranges it looks which of them are executed: other clients' messages are in between.
const RANGES_MAX: usize = 4096;

pub(crate) struct Awaited {
    session: u64,
    /// Numbers of messages in that session.
    ranges: VecDeque<Range<u64>>,
    /// Letters before this place in the file are read.
    letters: dead::Place,
    dead: u64,
}

impl Awaited {
    pub(crate) fn new(instance: &Instance) -> Result<Self, Error> {
        let letters = LineFile::find(instance.directory(), dead::NAME)?;
        let from = letters.map_or(Ok(0), |letters| letters.len())?;
        let letters = dead::Place::from(from);
        Ok(Self { session: 0, ranges: VecDeque::new(), letters, dead: 0 })
    }

    /// Adds what was accepted.
    pub(crate) fn add(&mut self, journal: &Journal<'_>, accepted: Range<u64>) -> Result<(), Error> {
        if self.session != journal.ledger().session() {
            // The session before has ended, or this one would not have begun.
            self.settle(journal.instance(), u64::MAX)?;
            self.session = journal.ledger().session();
        }
        match self.ranges.back_mut() {
            Some(last) if last.end == accepted.start => last.end = accepted.end,
            _ => self.ranges.push_back(accepted),
        }
        if self.ranges.len() >= RANGES_MAX {
            self.settle(journal.instance(), journal.cursors()?.base)?;
        }
        Ok(())
    }

    /// Forgets what is executed: every message before this one.
    fn settle(&mut self, instance: &Instance, executed: u64) -> Result<(), Error> {
        // A letter is written before its message is executed: those of what is forgotten are there.
        let Self { session, ranges, letters, dead } = self;
        let is_own = |message| ranges.iter().any(|range| range.contains(&message));
        dead::of_session(instance.directory(), *session, letters, |id| {
            *dead += u64::from(is_own(id.message));
        })?;
        while ranges.front().is_some_and(|range| range.end <= executed) {
            ranges.pop_front();
        }
        Ok(())
    }

    /// Waits until all are executed. Returns the exit code.
    pub(crate) fn wait<'a>(
        mut self,
        instance: &'a Instance,
        mut journal: Option<Journal<'a>>,
    ) -> Result<u8, Error> {
        let (start, mut reported) = (Instant::now(), false);
        while !self.ranges.is_empty() {
            let Some(current) = journal.take() else {
                self.settle(instance, u64::MAX)?; // it has ended
                break;
            };
            let seen = current.ledger().logged().look();
            let at = current.cursors()?;
            self.settle(instance, if at.is_ended() { u64::MAX } else { at.base })?;
            if self.ranges.is_empty() {
                break;
            }
            if current.ledger().is_removed()? && !current.cursors()?.is_ended() {
                // It goes on once the session is read back from the log.
                match Journal::open(instance, false) {
                    Err(Error::LogReplaced) if end::is_log_left(instance)? => {} // and its log was renamed
                    opened => match opened? {
                        Opened::Session(again, _) if again.ledger().session() == self.session => {
                            journal = Some(*again);
                        }
                        _ => {} // that has ended, too
                    },
                }
                continue;
            }
            if start.elapsed() >= TICK && !std::mem::replace(&mut reported, true) {
                self.report(instance, at.workers())?;
            }
            current.ledger().logged().sleep(seen, TICK).map_err(Error::system("futex"))?;
            journal = Some(current);
        }
        Ok(dead::report("client", self.dead))
    }

    fn report(&self, instance: &Instance, workers: Option<Workers>) -> Result<(), Error> {
        let left: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        let hint = instance.no_balancer(workers)?;
        let are = if left == 1 { "message is" } else { "messages are" };
        common::note!("client: waiting until {left} {are} executed{hint}");
        Ok(())
    }
}
