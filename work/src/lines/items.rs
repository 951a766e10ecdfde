//! The messages that are not counted yet, and what each of them is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::error::Error;
use common::program::work::Work;

use crate::hand::{Ended, Hand, Next};
use crate::process::TICK;
use crate::{Message, Progress, letter};

/// Of this worker, each the next one of that before it.
pub(super) struct Items(VecDeque<Item>);

pub(super) struct Item {
    pub(super) message: Message,
    pub(super) hand: Hand,
    pub(super) state: State,
}

pub(super) enum State {
    /// To be handed out, once its pause is over.
    Due(Option<Instant>),
    Asked,
    Done,
    Dead {
        outcome: String,
        stderr: String,
    },
}

impl Items {
    pub(super) fn new(messages: Vec<Message>) -> Self {
        let item = |message| Item { message, hand: Hand::default(), state: State::Due(None) };
        Self(messages.into_iter().map(item).collect())
    }

    pub(super) fn first(&mut self) -> Option<&mut Item> {
        self.0.front_mut()
    }

    /// The worker's own message of that number.
    pub(super) fn get(&mut self, own: u64) -> Option<&mut Item> {
        let first = self.0.front()?.message.own;
        self.0.get_mut(usize::try_from(own.checked_sub(first)?).ok()?)
    }

    /// Up to so many from the first one on.
    pub(super) fn some(&mut self, most: usize) -> impl Iterator<Item = &mut Item> {
        self.0.iter_mut().take(most)
    }

    /// Says in the ledger what is in hand: for this worker's next life, if this one dies in it.
    pub(super) fn show_first(&self, progress: &dyn Progress<'_>) -> Result<(), Error> {
        let first = self.0.front();
        first.map_or(Ok(()), |first| progress.set_in_hand(first.message.own, &first.hand))
    }

    /// Counts what is over, up to the first one that is not.
    pub(super) fn count(&mut self, progress: &mut dyn Progress<'_>) -> Result<(), Error> {
        let mut executed = None;
        while let Some(Item { message, hand, state }) = self.0.front() {
            match state {
                State::Done => {}
                State::Dead { outcome, stderr } => {
                    // Not together: killed after the letter, this worker would have the others to do again.
                    if let Some(executed) = executed {
                        progress.count(executed);
                    }
                    progress.set_in_hand(message.own, hand)?;
                    letter::write(message, hand, outcome.clone(), stderr.clone(), progress)?;
                }
                _ => break,
            }
            executed = Some(message.own + 1);
            self.0.pop_front();
        }
        executed.map_or(Ok(()), |executed| {
            progress.count(executed);
            progress.log_if_many()
        })
    }

    /// How long until a message's pause is over, as far as that is to be waited for.
    pub(super) fn pause(&self) -> Duration {
        let due = |item: &Item| if let State::Due(at) = item.state { at } else { None };
        let first = self.0.iter().filter_map(due).min();
        first.map_or(TICK, |at| at.saturating_duration_since(Instant::now()).min(TICK))
    }
}

impl Item {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Due(at) if at.is_none_or(|at| at <= now))
    }

    /// An attempt has ended.
    pub(super) fn end(&mut self, ended: &Ended, work: &Work, stderr: impl FnOnce() -> String) {
        self.state = match self.hand.end(ended, work) {
            Next::Done => State::Done,
            Next::Again(pause) => State::Due(Some(Instant::now() + pause)),
            Next::Dead | Next::Stop => State::Dead { outcome: ended.to_string(), stderr: stderr() },
        };
    }
}
