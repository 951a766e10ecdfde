//! What the protocol needs of a replicated log: three calls. JetStream has them ([`crate::nats`]); a test has them in
//! memory, with delays, lost answers, and answers that come too late (`simulation`).

use std::future::Future;
use std::time::Duration;

use common::error::Error;

use crate::entry::Subject;

/// One entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number in the stream, from 1, without gaps: nothing is ever deleted.
    pub(crate) sequence: u64,
    /// When it was appended, by the stream's clock: ms since 1970.
    pub(crate) time_ms: u64,
    pub(crate) subject: Subject,
    pub(crate) payload: Vec<u8>,
}

/// Where something is to be appended: not at all, if anything else has come there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The last entry of the subject has this number; 0: there is none.
    LastOfSubject(u64),
    /// The last entry of the whole stream has it.
    Last(u64),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is in the stream, with this number.
    At(u64),
    /// It is not: something else came before.
    Refused,
    /// There was no answer, or none that tells: it may be in the stream, or come there yet.
    Unclear(String),
}

/// Entries that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// There were no others, as far as the server knew that was asked.
    pub(crate) is_all: bool,
}

/// A replicated log with compare-and-set.
pub(crate) trait Engine: Clone + Send + Sync + 'static {
    /// Appends an entry if nothing has come before it.
    fn append_if(
        &self,
        subject: &Subject,
        expected: Expected,
        payload: &[u8],
    ) -> impl Future<Output = Appended> + Send;

    /// The entries from this number on, as far as they are there; waits for the first one, up to so long. `Ok(None)` where
    /// there was no answer that tells.
    fn read_from(
        &self,
        sequence: u64,
        wait: Duration,
    ) -> impl Future<Output = Result<Option<Batch>, Error>> + Send;

    /// The last entry of a subject. `Ok(None)` where there was no answer that tells.
    fn last_of(
        &self,
        subject: &Subject,
    ) -> impl Future<Output = Result<Option<Option<Entry>>, Error>> + Send;
}
