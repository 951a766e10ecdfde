//! What a holder is to execute. Whose turn it is, is a function of the submissions in the stream: nothing is forwarded,
//! and a submission of a billion messages is one entry.

use std::time::Duration;

use common::error::Error;
use common::grammar::rotation::{WorkerId, Workers};

use crate::engine::Engine;
use crate::entry::SessionNumber;
use crate::hold::{self, Held, Take, Taken};
use crate::put::{Look, Waiting, read_on};
use crate::state::{Change, State};

/// How long nothing may come before whoever asks is given nothing.
const TICK: Duration = Duration::from_millis(200);

/// Messages of one submission that are one worker's, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) session: SessionNumber,
    pub(crate) workers: Workers,
    /// The worker's own number of the first one, and how many there are.
    pub(crate) own: u64,
    pub(crate) count: u64,
    /// The first one's number in its submission, from 1. Each further one's is N more.
    pub(crate) index: u32,
    pub(crate) text: String,
}

/// What comes next for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Share(Share),
    /// So many are executed, as an earlier holder has left it.
    Executed(SessionNumber, Workers, u64),
    /// All of the session is executed and logged.
    SessionEnded,
    /// Nothing so far.
    Nothing,
}

/// The stream as one worker reads it.
pub(crate) struct Shares<E> {
    engine: E,
    state: State,
    worker: WorkerId,
    look: Look,
    waiting: Waiting,
    is_up_to_date: bool,
    /// The session whose messages are handed out, and how many are.
    session: Option<SessionNumber>,
    given: u64,
    /// Sessions that have ended, which were not handed out.
    ended: u64,
}

impl<E: Engine> Shares<E> {
    pub(crate) fn new(engine: E, worker: WorkerId, look: Look) -> Self {
        let (state, waiting) = (State::new(), Waiting::default());
        let (is_up_to_date, session, given, ended) = (false, None, 0, 0);
        Self { engine, state, worker, look, waiting, is_up_to_date, session, given, ended }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Takes this worker's number, and reads up to that: from there on nobody else counts.
    pub(crate) async fn take(
        &mut self,
        name: &str,
        how: Take,
    ) -> Result<Result<Held, Taken>, Error> {
        self.is_up_to_date = false;
        while !self.is_up_to_date {
            self.read(Duration::ZERO).await?;
        }
        let take = hold::take(&self.engine, &self.state, self.worker, Some(name), how, self.look);
        let held = match take.await? {
            Ok(held) => held,
            Err(taken) => return Ok(Err(taken)),
        };
        while self.state.next <= held.since() {
            self.read(TICK).await?;
        }
        self.ended = 0; // before this holder's time
        let dead_at = self.state.holder(self.worker).dead_at;
        Ok(Ok(held.with_dead_at(dead_at)))
    }

    /// What comes next; waits a moment for it.
    pub(crate) async fn next(&mut self) -> Result<Given, Error> {
        if self.ended > 0 {
            self.ended -= 1;
            return Ok(Given::SessionEnded);
        }
        if let Some(given) = self.given() {
            return Ok(given);
        }
        self.state.session.forget_before(self.first_wanted());
        self.read(TICK).await?;
        Ok(Given::Nothing)
    }

    /// Messages before this one are none of this worker's, or handed out.
    fn first_wanted(&self) -> u64 {
        let workers = self.state.session.workers;
        workers.map_or(0, |workers| workers.message_of(self.worker, self.given))
    }

    fn given(&mut self) -> Option<Given> {
        let session = &self.state.session;
        let (workers, number) = (session.workers?, session.number?);
        if self.worker.get() > workers.get() {
            return None;
        }
        if self.session != Some(number) {
            let holder = self.state.holder(self.worker);
            self.session = Some(number);
            // A message with a letter is over.
            self.given = holder.executed + u64::from(holder.has_letter);
            return Some(Given::Executed(number, workers, self.given));
        }
        if workers.share(self.worker, session.messages) <= self.given {
            return None;
        }
        let message = workers.message_of(self.worker, self.given);
        let (first, submission) = session.submission_of(message)?;
        let end = first + u64::from(submission.count());
        let share = Share {
            session: number,
            workers,
            own: self.given,
            count: workers.share(self.worker, end) - self.given,
            index: (message - first) as u32 + 1, // at most the count
            text: submission.text().to_owned(),
        };
        self.given += share.count;
        Some(Given::Share(share))
    }

    async fn read(&mut self, wait: Duration) -> Result<(), Error> {
        let (next, waiting) = (self.state.next, &mut self.waiting);
        let batch = read_on(&self.engine, next, wait, waiting, self.look).await?;
        let Some(batch) = batch else { return Ok(()) };
        self.is_up_to_date = batch.is_all;
        for entry in &batch.entries {
            if let Change::Ended(_) = self.state.apply(entry) {
                self.ended += 1;
                (self.session, self.given) = (None, 0);
            }
        }
        Ok(())
    }
}
