//! A client's side: submissions are accepted once they are in the stream. A client has a subject of its own, so what is
//! there is its own, each once and in its order.

use common::error::{Error, exit};
use common::grammar::submission::Submission;

use crate::engine::Engine;
use crate::entry::{Subject, add_line, begin_lines};
use crate::put::{Look, Put, put};

/// No entry has more bytes; a server takes 1 MiB unless it is configured otherwise (`max_payload`).
const ENTRY_LEN_MAX: usize = 256 << 10;

/// One run of a client.
pub(crate) struct Submitter<E> {
    engine: E,
    subject: Subject,
    /// The last entry that is in the stream.
    last: u64,
    look: Look,
}

impl<E: Engine> Submitter<E> {
    /// `run`: a name that no other run of a client has.
    pub(crate) fn new(engine: E, run: String, look: Look) -> Self {
        Self { engine, subject: Subject::In(run), last: 0, look }
    }

    /// Where its entries are.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The entry that was accepted last.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Returns once all of them are accepted; `accepted` is given those that are. `more`: others are to come.
    pub(crate) async fn submit(
        &mut self,
        mut left: &[Submission<&str>],
        more: bool,
        mut accepted: impl FnMut(&[Submission<&str>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut payload = Vec::new();
        loop {
            begin_lines(&mut payload, true);
            let mut count = 0;
            while let Some(submission) = left.get(count)
                && (count == 0 || payload.len() + submission.text().len() + 12 < ENTRY_LEN_MAX)
            {
                add_line(&mut payload, submission);
                count += 1;
            }
            let (these, rest) = left.split_at(count);
            if rest.is_empty() && !more {
                payload.splice(..4, *b"last");
            }
            match put(&self.engine, &self.subject, self.last, &payload, self.look).await? {
                Put::At(at) => self.last = at,
                Put::Lost(entry) => {
                    let what = format!(
                        "entry {} of the stream has the name of this run, and is not of it: was another program given \
                         the right to write there?",
                        entry.sequence
                    );
                    return Err(Error::Own { what, code: exit::TROUBLE });
                }
            }
            accepted(these)?;
            left = rest;
            if left.is_empty() {
                return Ok(());
            }
        }
    }
}
