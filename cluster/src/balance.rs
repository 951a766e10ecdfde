//! A balancer's side: it says N, writes its host's log, and ends the session. Any number of them may run, on any hosts:
//! whatever they decide they append on a condition, and learn what came of it by reading on.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use common::error::Error;
use common::grammar::rotation::{WorkerId, Workers};
use tokio::time::Instant;

use crate::engine::{Appended, Engine, Expected};
use crate::entry::{self, Config, End, SessionNumber, Subject};
use crate::put::{Look, Waiting, read_on};
use crate::scribe::{Done, Paper, Scribe, Written};
use crate::state::{STEP_MAX_MS, State};

/// How long nothing may come before signals and workers are looked at again.
const TICK: Duration = Duration::from_millis(200);
/// After so long without an entry the stream is asked for the time, which goes on by no more than that.
const ASK: Duration = Duration::from_millis(STEP_MAX_MS);

/// How a balancer was asked to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) workers: Workers,
    /// It does not end sessions, and goes on after them.
    pub(crate) serve: bool,
    /// It cares for numbers whose holders are silent.
    pub(crate) take_over: bool,
}

pub(crate) struct Balancer<E, P> {
    engine: E,
    scribe: Scribe<P>,
    order: Order,
    look: Look,
    waiting: Waiting,
    /// When the last entry came, or the stream was asked for the time.
    heard: Instant,
    /// All was read that there was.
    is_up_to_date: bool,
    /// A session that has ended, before all was read.
    done: Option<Done>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Goes,
    /// A session has ended that was not known to have ended.
    Ended(Done),
}

impl<E: Engine, P: Paper> Balancer<E, P> {
    pub(crate) fn new(engine: E, paper: P, order: Order, look: Look) -> Self {
        let scribe = Scribe::new(paper);
        let (waiting, heard) = (Waiting::default(), Instant::now());
        Self { engine, scribe, order, look, waiting, heard, is_up_to_date: false, done: None }
    }

    pub(crate) fn state(&self) -> &State {
        self.scribe.state()
    }

    /// All was read that there was: what follows from it may be done.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.is_up_to_date
    }

    pub(crate) fn paper(&self) -> &P {
        &self.scribe.paper
    }

    /// Reads on, writes what is ready, and does what follows.
    pub(crate) async fn step(&mut self) -> Result<Step, Error> {
        let (next, waiting) = (self.scribe.state().next, &mut self.waiting);
        let batch = read_on(&self.engine, next, TICK, waiting, self.look).await?;
        let Some(batch) = batch else { return Ok(Step::Goes) };
        if !batch.entries.is_empty() {
            self.heard = Instant::now();
        }
        for entry in &batch.entries {
            if let Written::Totals(done) = self.scribe.apply(entry)? {
                // What the log had before is history.
                self.done = Some(done).filter(|done| done.is_new);
            }
        }
        if !batch.entries.is_empty() {
            self.scribe.paper.flush()?;
        }
        self.is_up_to_date = batch.is_all;
        if !batch.is_all {
            return Ok(Step::Goes);
        }
        if let Some(done) = self.done.take() {
            return Ok(Step::Ended(done));
        }
        self.decide().await?;
        Ok(Step::Goes)
    }

    async fn decide(&mut self) -> Result<(), Error> {
        let (state, asked) = (self.state(), self.order.workers);
        let Some(workers) = state.session.workers else {
            let session = SessionNumber(RandomState::new().hash_one(state.next));
            return self.configure(session).await;
        };
        if workers != asked {
            return Err(Error::OtherWorkers { session: workers.get(), asked: asked.get() });
        }
        let Some(session) = state.session.number else { return Ok(()) };
        let ends = !self.order.serve && state.is_all_executed();
        if ends && !state.is_fed() {
            let (totals, last) = (state.totals(), state.next - 1);
            let end = entry::write(&End { session, totals });
            // Whether it is there is seen by reading on.
            let ended = self.engine.append_if(&Subject::End, Expected::Last(last), &end).await;
            return self.heed(ended).await;
        }
        let is_anyone_waiting = || workers.ids().any(|worker: WorkerId| state.is_due(worker));
        if (ends || self.order.take_over && is_anyone_waiting()) && self.heard.elapsed() > ASK {
            // Nothing moves the stream's clock. The same again says nothing but the time.
            self.heard = Instant::now();
            return self.configure(session).await;
        }
        Ok(())
    }

    /// A refusal is no trouble: something came before, and is read next.
    async fn heed(&mut self, appended: Appended) -> Result<(), Error> {
        match appended {
            Appended::Unclear(why) => self.waiting.again(&why, self.look).await,
            Appended::At(_) | Appended::Refused => Ok(()),
        }
    }

    async fn configure(&mut self, session: SessionNumber) -> Result<(), Error> {
        let state = self.state();
        let (workers, after) = (self.order.workers.get(), state.ended_at);
        let config = Config { session, workers, after };
        let expected = Expected::LastOfSubject(state.config_at);
        let payload = entry::write(&config);
        let appended = self.engine.append_if(&Subject::Config, expected, &payload).await;
        self.heed(appended).await
    }
}
