//! What a worker has in hand, for its next life on this host: how often a message was tried, and how that went. A file of
//! one line, written over at each step, so that the page cache has it after a kill. On another host tries are counted
//! anew.

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::error::Error;
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::ledger::cell::InHand;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use work::hand::Hand;

use crate::entry::SessionNumber;
use crate::files::open_beside;

/// The line has this length, so that one write replaces it whole.
const LEN: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    session: SessionNumber,
    /// Of the holder who wrote it.
    generation: u64,
    own: u64,
    #[serde(flatten)]
    hand: InHand,
}

/// The file.
#[derive(Debug)]
pub(crate) struct InHandFile(File);

impl InHandFile {
    /// This worker's, made if it is not there.
    pub(crate) fn open(instance: &Instance, worker: WorkerId) -> Result<Self, Error> {
        let name = format!("sistem.hand.{worker}");
        let file = open_beside(instance, &name)?;
        // Written over, not appended to.
        rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(Error::system("fcntl"))?;
        Ok(Self(file))
    }

    /// What an earlier life of this worker has left of its own message of that number.
    pub(crate) fn left(&self, session: SessionNumber, own: u64) -> Result<Option<Hand>, Error> {
        let line = self.read()?.filter(|line| line.session == session && line.own == own);
        Ok(line.map(|line| Hand(line.hand)))
    }

    /// Which message was the newest that a holder of that generation had in hand: those before it are executed, also where
    /// he could not say so any more.
    pub(crate) fn reached(
        &self,
        session: SessionNumber,
        generation: u64,
    ) -> Result<Option<u64>, Error> {
        let is_it = |line: &Line| line.session == session && line.generation == generation;
        Ok(self.read()?.filter(is_it).map(|line| line.own))
    }

    fn read(&self) -> Result<Option<Line>, Error> {
        let mut bytes = [0; LEN];
        let len = self.0.read_at(&mut bytes, 0).map_err(Error::system("sistem.hand"))?;
        // Whatever else it says, it says of no message of ours.
        Ok(serde_json::from_slice::<Line>(&bytes[..len]).ok())
    }

    pub(crate) fn set(
        &self,
        session: SessionNumber,
        generation: u64,
        own: u64,
        hand: &Hand,
    ) -> Result<(), Error> {
        let mut bytes = crate::entry::write(&Line { session, generation, own, hand: hand.0 });
        bytes.resize(LEN - 1, b' ');
        bytes.push(b'\n');
        self.0.write_all_at(&bytes, 0).map_err(Error::system("sistem.hand"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_of_that_message_only() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let worker = WorkerId::new(3_u32).unwrap();
        let file = InHandFile::open(&instance, worker).unwrap();
        let session = SessionNumber(u64::MAX);
        assert!(file.left(session, 0).unwrap().is_none());
        let mut hand = Hand::default();
        hand.0.attempt = u32::MAX;
        hand.0.since_ms = u64::MAX;
        file.set(session, u64::MAX, u64::MAX, &hand).unwrap();
        let again = InHandFile::open(&instance, worker).unwrap();
        assert_eq!(again.left(session, u64::MAX).unwrap().map(|it| it.0), Some(hand.0));
        assert!(again.left(session, 0).unwrap().is_none());
        assert!(again.left(SessionNumber(1), u64::MAX).unwrap().is_none());
        assert_eq!(again.reached(session, u64::MAX).unwrap(), Some(u64::MAX));
        assert_eq!(again.reached(session, 1).unwrap(), None, "somebody else has counted since");
        assert_eq!(again.reached(SessionNumber(1), u64::MAX).unwrap(), None);
    }
}
