//! An entry is appended, and nobody goes on before it is certain whether it was; and entries are read, for as long as it
//! takes to have an answer.
//!
//! After an answer that does not tell, the same entry is appended again with the same expectation, until it is accepted
//! or refused. Refused, the last entry of the subject tells which it was: this one, or somebody else's.

use std::time::Duration;

use common::error::Error;
use tokio::time::{Instant, sleep};

use crate::engine::{Appended, Batch, Engine, Entry, Expected};
use crate::entry::Subject;

/// How long until the same is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// Nobody waits longer without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where an entry was to be the next one of its subject.
#[derive(Debug)]
pub(crate) enum Put {
    /// It is, with this number.
    At(u64),
    /// This one is instead.
    Lost(Entry),
}

/// Whether to go on: an error ends it.
pub(crate) type Look = fn() -> Result<(), Error>;

/// Says once that the servers do not answer, and once that they do.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    since: Option<Instant>,
    reported: bool,
}

impl Waiting {
    /// There was no answer that tells.
    pub(crate) async fn again(&mut self, why: &str, look: Look) -> Result<(), Error> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE && !std::mem::replace(&mut self.reported, true) {
            common::note!("cluster: waiting for the servers: {why}");
        }
        look()?;
        sleep(AGAIN).await;
        look()
    }

    /// There was one.
    pub(crate) fn is_over(&mut self) {
        self.since = None;
        if std::mem::take(&mut self.reported) {
            common::note!("cluster: the servers answer again");
        }
    }
}

/// Reads on. Without an answer that tells, nothing, after a moment.
pub(crate) async fn read_on(
    engine: &impl Engine,
    next: u64,
    wait: Duration,
    waiting: &mut Waiting,
    look: Look,
) -> Result<Option<Batch>, Error> {
    look()?;
    let batch = engine.read_from(next, wait).await?;
    match &batch {
        Some(_) => waiting.is_over(),
        None => waiting.again("no answer", look).await?,
    }
    Ok(batch)
}

/// Appends an entry after the one that its writer knows as its subject's last (0: there is none).
pub(crate) async fn put(
    engine: &impl Engine,
    subject: &Subject,
    last: u64,
    payload: &[u8],
    look: Look,
) -> Result<Put, Error> {
    let mut waiting = Waiting::default();
    loop {
        let why = match engine.append_if(subject, Expected::LastOfSubject(last), payload).await {
            Appended::At(at) => {
                waiting.is_over();
                return Ok(Put::At(at));
            }
            Appended::Unclear(why) => why,
            Appended::Refused => match engine.last_of(subject).await? {
                Some(Some(entry)) if entry.sequence > last => {
                    waiting.is_over();
                    let is_it = entry.payload == payload;
                    return Ok(if is_it { Put::At(entry.sequence) } else { Put::Lost(entry) });
                }
                // Whoever answered does not know what this process knows.
                Some(_) => "an old answer".to_owned(),
                None => "no answer".to_owned(),
            },
        };
        waiting.again(&why, look).await?;
    }
}
