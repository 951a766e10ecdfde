//! Files beside the log that hold a JSON object a line, and only grow: written by several processes, read by
//! anyone. A write that was cut short leaves half a line; the next one begins after it, and readers pass over it.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{Error, heed_signals};
use crate::instance::directory::Directory;
use crate::instance::log_file::{open_private, refused};
use crate::program::pause::pause;

/// No line of ours is longer: a text and an end of a COMMAND's messages, each byte as `\u0000` at most.
const LINE_LEN_MAX: u64 = 1 << 16;

/// Who waits longer for its lock says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// One that is open.
#[derive(Debug)]
pub struct LineFile {
    file: File,
    path: PathBuf,
}

impl LineFile {
    /// Opens it for reading and appending; it is made if it is not there.
    pub fn open(directory: &Directory, name: &str) -> Result<Self, Error> {
        Self::open_with(directory, name, OFlags::CREATE)
    }

    /// Opens it if it is there.
    pub fn find(directory: &Directory, name: &str) -> Result<Option<Self>, Error> {
        match Self::open_with(directory, name, OFlags::empty()) {
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    fn open_with(directory: &Directory, name: &str, create: OFlags) -> Result<Self, Error> {
        let path = directory.path().join(name);
        let file = loop {
            match open_private(directory, name, create) {
                Err(Errno::INTR) => heed_signals()?,
                Err(Errno::LOOP) => {
                    return Err(refused(directory, name, "is a symbolic link; remove it"));
                }
                opened => break opened,
            }
        };
        let failed = |source| Error::File { path: path.clone(), source };
        let file = file.map_err(|error| failed(error.into()))?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(refused(directory, name, "must be a regular file of your own; remove it"));
        }
        Ok(Self { file, path })
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> Error {
        |source| Error::File { path: self.path.clone(), source }
    }

    /// Its length.
    pub fn len(&self) -> Result<u64, Error> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.failed())
    }

    /// Whether nothing was ever written to it.
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.len().map(|len| len == 0)
    }

    /// Appends a line, whole or not at all; if `durable`, it is on the disk (`fdatasync(2)`) after that.
    pub fn append(&self, object: &impl Serialize, durable: bool) -> Result<(), Error> {
        self.lock()?;
        let appended = self.append_locked(object, durable);
        // Released at the latest when it is closed.
        let _ = self.file.unlock();
        appended
    }

    /// Keeps everyone else out, until it is closed.
    pub fn lock(&self) -> Result<(), Error> {
        let (start, mut reported) = (Instant::now(), false);
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(self.failed()(error)),
            }
            heed_signals()?;
            if start.elapsed() >= PATIENCE && !std::mem::replace(&mut reported, true) {
                crate::note!("waiting: another process has locked {}", self.path.display());
            }
            pause(Duration::from_millis(1));
        }
    }

    /// Appends a line, as one who has locked it.
    pub fn append_locked(&self, object: &impl Serialize, durable: bool) -> Result<(), Error> {
        let len = self.len()?;
        let mut last = [b'\n'];
        if len > 0 {
            self.file.read_exact_at(&mut last, len - 1).map_err(self.failed())?;
        }
        let json = serde_json::to_string(object).map_err(|error| self.failed()(error.into()))?;
        let half = if last == *b"\n" { "" } else { "\n" };
        let line = format!("{half}{json}\n");
        let written = (&self.file).write_all(line.as_bytes());
        let written = written.and_then(|()| if durable { self.file.sync_data() } else { Ok(()) });
        written.map_err(|error| {
            // What stays is half a line.
            let _ = self.file.set_len(len);
            self.failed()(error)
        })
    }

    /// Whether an object's whole line begins with this. What only ends like a line may be half of one, which another
    /// writer has begun after it.
    pub fn has_line(&self, beginning: &str) -> Result<bool, Error> {
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        reader.rewind().map_err(self.failed())?;
        let mut line = Vec::new();
        loop {
            heed_signals()?;
            line.clear();
            let some = reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line);
            some.map_err(self.failed())?;
            match line.last() {
                None => return Ok(false),
                Some(b'\n')
                    if line.starts_with(beginning.as_bytes())
                        && serde_json::from_slice::<IgnoredAny>(&line).is_ok() =>
                {
                    return Ok(true);
                }
                _ => {} // of one that is longer than any of ours, the next piece cannot begin so
            }
        }
    }

    /// Hands out the objects of all whole lines from a place on, and what is no such object as it is, with the
    /// line's place. Returns where the next line will begin.
    pub fn read<T: DeserializeOwned>(
        &self,
        from: u64,
        mut each: impl FnMut(u64, Result<T, &[u8]>) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        reader.seek(SeekFrom::Start(from)).map_err(self.failed())?;
        let (mut at, mut line) = (from, Vec::new());
        loop {
            heed_signals()?;
            line.clear();
            let some = reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line);
            let mut len = some.map_err(self.failed())? as u64;
            if len == LINE_LEN_MAX && line.last() != Some(&b'\n') {
                len += reader.skip_until(b'\n').map_err(self.failed())? as u64;
            } else if line.last() != Some(&b'\n') {
                return Ok(at); // the end, or half a line, which may be in the writing
            }
            let object = line.strip_suffix(b"\n").unwrap_or(&line);
            if !object.is_empty() {
                each(at, serde_json::from_slice(object).map_err(|_| object))?;
            }
            at += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &LineFile, from: u64) -> (Vec<String>, u64) {
        let mut lines = Vec::new();
        let end = file.read(from, |_, line: Result<u32, _>| {
            lines.push(line.map_or_else(|_| "?".to_owned(), |number| number.to_string()));
            Ok(())
        });
        (lines, end.unwrap())
    }

    #[test]
    fn half_a_line_costs_nothing_but_itself() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        assert!(LineFile::find(&directory, "x").unwrap().is_none());
        let file = LineFile::open(&directory, "x").unwrap();
        file.append(&1, false).unwrap();
        (&file.file).write_all(b"{\"id\":").unwrap();
        assert_eq!(read(&file, 0), (vec!["1".to_owned()], 2), "it may be in the writing");
        file.append(&2, true).unwrap();
        assert_eq!(read(&file, 0).0, ["1", "?", "2"]);
        assert_eq!(read(&file, 9).0, ["2"]);
        (&file.file).write_all(&vec![b'x'; 3 << 16]).unwrap();
        file.append(&3, false).unwrap();
        assert_eq!(read(&file, 9).0, ["2", "?", "3"]);
        assert_eq!(read(&file, read(&file, 0).1).0, [""; 0]);
    }

    #[test]
    fn half_a_line_that_another_writer_ended_was_taken_for_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let file = LineFile::open(&directory, "x").unwrap();
        (&file.file).write_all(b"{\"id\":1,\"te").unwrap();
        file.append(&2, false).unwrap();
        assert!(!file.has_line("{\"id\":1").unwrap());
        assert!(file.has_line("2").unwrap());
    }

    #[test]
    fn what_only_has_the_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "dir", "fifo"] {
            LineFile::open(&directory, name).unwrap_err();
        }
    }
}
