//! `sistem.log` is a function of a prefix of the stream: each entry adds what is ready with it, in canonical order, before
//! the next one is looked at. So all hosts write the same bytes, and one that comes late writes them, too.

use common::error::Error;
use common::grammar::rotation::Workers;
use common::ledger::cursors::Cursors;
use common::log::render::{Limits, Renderer, TRANSACTION_LEN};

use crate::engine::Entry;
use crate::state::{Change, State};

/// Where the bytes go.
pub(crate) trait Paper {
    /// Lines of `sistem.log`.
    fn log(&mut self, bytes: &[u8]) -> Result<(), Error>;
    /// A line of `sistem.dead`.
    fn dead(&mut self, line: &[u8]) -> Result<(), Error>;
    /// Whether the last line of the log was not there before.
    fn is_new(&self) -> bool;
    /// All of a batch is written.
    fn flush(&mut self) -> Result<(), Error>;
}

/// Writes a log.
pub(crate) struct Scribe<P> {
    state: State,
    renderer: Renderer,
    at: Cursors,
    pub(crate) paper: P,
}

/// What an entry came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Whatever was ready.
    Lines,
    /// The totals of a session, of which so many messages are dead.
    Totals(Done),
}

/// A session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) messages: u64,
    pub(crate) dead: u64,
    /// Its totals were not in the log before.
    pub(crate) is_new: bool,
}

impl<P: Paper> Scribe<P> {
    pub(crate) fn new(paper: P) -> Self {
        Self { state: State::new(), renderer: Renderer::default(), at: Cursors::default(), paper }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Takes the next entry, and writes what is ready with it.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<Written, Error> {
        let dead = self.state.session.dead;
        match self.state.apply(entry) {
            Change::Nothing => return Ok(Written::Lines),
            Change::Submitted(records) => self.submissions(records)?,
            Change::Configured => {
                let workers = self.state.session.workers.map_or(0, Workers::get);
                self.at.workers = workers.into();
            }
            Change::Executed => {}
            Change::Died(letter) => {
                let mut line = crate::entry::write(&letter);
                line.push(b'\n');
                self.paper.dead(&line)?;
            }
            Change::Ended(workers) => {
                self.renderer.clear();
                self.renderer.totals(&mut self.at, workers.get().into());
                self.paper.log(self.renderer.bytes())?;
                let messages = self.at.messages;
                // Of the next session all places begin anew.
                (self.at, self.renderer) = (Cursors::default(), Renderer::default());
                return Ok(Written::Totals(Done { messages, dead, is_new: self.paper.is_new() }));
            }
        }
        self.lines()?;
        Ok(Written::Lines)
    }

    fn submissions(&mut self, records: usize) -> Result<(), Error> {
        let session = &self.state.session;
        self.renderer.clear();
        for record in session.newest(records) {
            for submission in record.iter() {
                self.renderer.submission(&submission);
            }
            if self.renderer.bytes().len() >= TRANSACTION_LEN {
                self.paper.log(self.renderer.bytes())?;
                self.renderer.clear();
            }
        }
        self.paper.log(self.renderer.bytes())?;
        (self.at.tail, self.at.messages) = (session.tail, session.messages);
        Ok(())
    }

    fn lines(&mut self) -> Result<(), Error> {
        let executed = self.state.frontier();
        let limits = Limits { received: self.at.messages, executed, stop: None };
        loop {
            self.renderer.clear();
            self.renderer.lines(&self.state.session, &mut self.at, &limits)?;
            if self.renderer.bytes().is_empty() {
                break;
            }
            self.paper.log(self.renderer.bytes())?;
        }
        self.state.session.forget_before(self.at.base);
        Ok(())
    }
}
