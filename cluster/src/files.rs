//! A host's `sistem.log` and `sistem.dead`: copies of what the stream says. What is there already is compared, byte for
//! byte, and written on from where it ends; so a balancer that was killed, or comes anew, needs no mark of its own.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use common::dead;
use common::error::{Error, exit, heed_signals};
use common::grammar::LOG_NAME;
use common::instance::Instance;
use common::instance::log_file;
use common::program::advice::LOG;
use common::program::pause::pause;
use rustix::fs::OFlags;

use crate::scribe::Paper;

/// How often a full disk is tried again.
const ROOM_AGAIN: Duration = Duration::from_millis(500);

/// One of the two.
#[derive(Debug)]
struct Copy {
    file: File,
    name: &'static str,
    /// How much of it is compared or written, and how long it is.
    at: u64,
    len: u64,
}

/// Both of them.
#[derive(Debug)]
pub(crate) struct Files {
    instance: Instance,
    log: Copy,
    dead: Copy,
    is_new: bool,
    durable: bool,
}

/// Opens a file beside the log, closed to others. It is made if it is not there.
pub(crate) fn open_beside(instance: &Instance, name: &str) -> Result<File, Error> {
    let file = log_file::open_private(instance.directory(), name, OFlags::CREATE);
    let path = || instance.path().join(name);
    file.map_err(|why| Error::File { path: path(), source: why.into() })
}

impl Files {
    /// Those of a directory. The log's role must be held.
    pub(crate) fn open(instance: Instance, durable: bool) -> Result<Self, Error> {
        let log = instance.log().try_clone().map_err(Error::Log)?;
        let log = Copy::of(log, LOG_NAME)?;
        let dead = Copy::of(open_beside(&instance, dead::NAME)?, dead::NAME)?;
        Ok(Self { instance, log, dead, is_new: false, durable })
    }

    /// Whether the log is still the one that was opened, and nobody else has written to it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let dead = self.dead.file.metadata().map_err(Error::Log)?;
        let is_dead_there = dead.nlink() > 0 && dead.len() == self.dead.len;
        let wrong = match self.instance.checked_log_len() {
            Ok(len) if len == self.log.len && is_dead_there => return Ok(()),
            Ok(len) if len == self.log.len => "sistem.dead beside it was touched",
            Ok(_) => "another program wrote to it",
            Err(Error::LogReplaced) => "it was renamed, removed or replaced",
            Err(error) => return Err(error),
        };
        let what =
            format!("{LOG}: {wrong}; move away what is there and start again: it is written anew");
        Err(Error::Own { what, code: exit::TROUBLE })
    }

    /// The log is compared or written up to here, and has bytes after that which the stream does not say.
    pub(crate) fn check_end(&self) -> Result<(), Error> {
        for copy in [&self.log, &self.dead] {
            if copy.at < copy.len {
                return Err(copy.differs(copy.at));
            }
        }
        Ok(())
    }
}

impl Copy {
    fn of(file: File, name: &'static str) -> Result<Self, Error> {
        let len = file.metadata().map_err(Error::Log)?.len();
        Ok(Self { file, name, at: 0, len })
    }

    fn differs(&self, at: u64) -> Error {
        let what = format!(
            "{} is no copy of what the stream says, from byte {at} on: move it away and start again, and it is written \
             anew; or give another --dir or --instance",
            self.name
        );
        Error::Own { what, code: exit::TROUBLE }
    }

    /// Compares, or writes. Returns whether anything was written.
    fn lay(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let there = (self.len - self.at).min(bytes.len() as u64) as usize;
        let (old, mut new) = bytes.split_at(there);
        if !old.is_empty() {
            let mut found = vec![0; there];
            self.file.read_exact_at(&mut found, self.at).map_err(Error::Log)?;
            if let Some(differs) = found.iter().zip(old).position(|(a, b)| a != b) {
                return Err(self.differs(self.at + differs as u64));
            }
        }
        self.at += there as u64;
        let is_new = !new.is_empty();
        let mut reported = false;
        while !new.is_empty() {
            heed_signals()?;
            match self.file.write(new) {
                Ok(written) => {
                    new = &new[written..];
                    self.at += written as u64;
                    self.len += written as u64;
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => {
                    let error = Error::LogWrite(why);
                    if !error.is_no_room() {
                        return Err(error);
                    }
                    if !std::mem::replace(&mut reported, true) {
                        common::tell!("cluster: {error}; waiting for room");
                    }
                    pause(ROOM_AGAIN);
                }
            }
        }
        Ok(is_new)
    }
}

impl Paper for Files {
    fn log(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.is_new = self.log.lay(bytes)?;
        Ok(())
    }

    fn dead(&mut self, line: &[u8]) -> Result<(), Error> {
        self.dead.lay(line).map(drop)
    }

    fn is_new(&self) -> bool {
        self.is_new
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.durable {
            self.log.file.sync_data().map_err(Error::Log)?;
            self.dead.file.sync_data().map_err(Error::Log)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::dead::NAME;

    fn files(dir: &std::path::Path) -> Files {
        Files::open(Instance::open(dir).unwrap(), false).unwrap()
    }

    #[test]
    fn what_is_there_is_compared_and_the_rest_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOG_NAME), "one\ntw").unwrap();
        let mut files = files(dir.path());
        files.log(b"one\n").unwrap();
        assert!(!files.is_new());
        assert!(files.check_end().is_err(), "there is more than was said so far");
        files.log(b"two\nthree\n").unwrap();
        assert!(files.is_new());
        files.dead(b"{}\n").unwrap();
        files.check_end().unwrap();
        files.check().unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join(LOG_NAME)).unwrap(),
            "one\ntwo\nthree\n"
        );
        assert_eq!(std::fs::read_to_string(dir.path().join(NAME)).unwrap(), "{}\n");
        std::fs::write(dir.path().join(LOG_NAME), "x").unwrap();
        assert!(files.check().is_err());
    }

    #[test]
    fn another_log_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOG_NAME), "one\ntWo\n").unwrap();
        let mut files = files(dir.path());
        files.log(b"one\n").unwrap();
        let error = files.log(b"two\nthree\n").unwrap_err().to_string();
        assert!(error.contains("sistem.log") && error.contains("byte 5"), "{error}");
        assert_eq!(std::fs::read_to_string(dir.path().join(LOG_NAME)).unwrap(), "one\ntWo\n");
    }
}
