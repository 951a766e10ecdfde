//! What a COMMAND prints: collected in files without a name, and printed whole once it has ended.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Once;
use std::time::{Duration, Instant};

use common::dead;
use common::error::{Error, heed_signals};
use common::instance::Instance;
use common::program::pause::pause;
use common::program::say;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::{libc, unistd};
use rustix::fs::{FallocateFlags, FileType, OFlags};

use crate::process::Look;
use crate::wait::wait_for;

/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;
/// What an attempt leaves running may still print: it is over once nothing came for so long.
const SILENCE: Duration = Duration::from_millis(100);

/// Standard output and standard error of one attempt.
pub(crate) struct Output {
    stdout: File,
    stderr: File,
    /// So much of standard error is printed already.
    printed: u64,
}

/// So much is kept of what is printed already.
const KEPT_LEN: u64 = 1 << 20;
/// What lasts longer is reported.
const PATIENCE: Duration = Duration::from_secs(1);
/// That what is printed goes nowhere is reported once; and that nobody reads it.
static REPORTED: Once = Once::new();
static STILL: Once = Once::new();

impl Output {
    pub(crate) fn new() -> Result<Self, Error> {
        let file = || -> io::Result<File> {
            let file = tempfile::tempfile()?;
            // Whoever opens it again, as /dev/stderr, appends, too.
            rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
            Ok(file)
        };
        let pair =
            || -> io::Result<Self> { Ok(Self { stdout: file()?, stderr: file()?, printed: 0 }) };
        pair().map_err(Error::system("a temporary file for what COMMAND prints (TMPDIR)"))
    }

    /// For a COMMAND to write to.
    pub(crate) fn stdio(&self) -> Result<(Stdio, Stdio), Error> {
        let clone = |file: &File| file.try_clone().map(Stdio::from);
        let both = clone(&self.stdout).and_then(|stdout| Ok((stdout, clone(&self.stderr)?)));
        both.map_err(Error::system("dup"))
    }

    fn lens(&self) -> Result<[u64; 2], Error> {
        let len = |file: &File| file.metadata().map(|metadata| metadata.len());
        let both = len(&self.stdout).and_then(|stdout| Ok([stdout, len(&self.stderr)?]));
        both.map_err(Error::system("fstat"))
    }

    /// So many bytes were written to standard output.
    pub(crate) fn stdout_len(&self) -> Result<u64, Error> {
        self.lens().map(|[stdout, _]| stdout)
    }

    /// What was written to standard error last.
    pub(crate) fn stderr_end(&self) -> Result<String, Error> {
        let [_, len] = self.lens()?;
        let mut end = vec![0; len.min(dead::STDERR_LEN as u64) as usize];
        let at = len - end.len() as u64;
        let read = self.stderr.read_at(&mut end, at);
        end.truncate(read.map_err(Error::system("read"))?);
        Ok(String::from_utf8_lossy(&end).into_owned())
    }

    /// Waits until what is left of the attempt prints nothing any more, or the attempt's time is over.
    pub(crate) fn settle(&self, until: Option<Instant>, look: Look<'_>) -> Result<(), Error> {
        let (start, mut reported) = (Instant::now(), false);
        let mut lens = None;
        while lens != Some(self.lens()?) && until.is_none_or(|until| Instant::now() < until) {
            lens = Some(self.lens()?);
            look()?;
            if start.elapsed() >= PATIENCE && !std::mem::replace(&mut reported, true) {
                common::note!(
                    "worker: waiting: COMMAND has ended, but what it left running prints on"
                );
            }
            pause(SILENCE);
        }
        Ok(())
    }

    /// Prints it all, when nobody else prints.
    pub(crate) fn print(&self, instance: &Instance) -> Result<(), Error> {
        let [stdout, stderr] = self.lens()?;
        if stdout == 0 && stderr == 0 {
            return Ok(());
        }
        instance.begin_output()?;
        let printed = print(&self.stdout, 0..stdout, io::stdout())
            .and_then(|()| print(&self.stderr, 0..stderr, io::stderr()));
        instance.end_output()?;
        printed
    }

    /// Prints what was written to standard error since the last time. Something that is kept goes on writing there.
    pub(crate) fn print_stderr(&mut self, instance: &Instance) -> Result<(), Error> {
        let [_, len] = self.lens()?;
        if len <= self.printed {
            return Ok(());
        }
        instance.begin_output()?;
        let printed = print(&self.stderr, self.printed..len, io::stderr());
        instance.end_output()?;
        printed?;
        self.printed = len;
        // The disk gets it back, but for the end. Not every file system can do that.
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let old = len.saturating_sub(KEPT_LEN);
        if old > 0 {
            let _ = rustix::fs::fallocate(&self.stderr, hole, 0, old);
        }
        Ok(())
    }

    /// Makes it empty again.
    pub(crate) fn clear(&mut self) -> Result<(), Error> {
        for file in [&self.stdout, &self.stderr] {
            let len = file.metadata().map(|metadata| metadata.len());
            let cut = len.and_then(|len| if len > 0 { file.set_len(0) } else { Ok(()) });
            cut.map_err(Error::system("ftruncate"))?;
        }
        Ok(())
    }
}

/// Copies so many bytes to where people may watch, if there are any.
fn print(from: &File, what: Range<u64>, to: impl AsFd + IsTerminal) -> Result<(), Error> {
    let clear = say::before_output(&to);
    if what.is_empty() || clear.is_empty() {
        return copy(from, what, to);
    }
    let mut last = [b'\n'];
    from.read_at(&mut last, what.end - 1).map_err(Error::system("read"))?;
    // If that cannot be written, neither can what follows, which says so.
    let _ = write_all(clear.as_bytes(), &to)?;
    copy(from, what, &to)?;
    // The bar comes below it, and must not take it off.
    let end: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    write_all(end, to).map(drop)
}

/// Copies so many bytes. A reader who has gone is reported, and does not stop the work: it was done.
fn copy(from: &File, what: Range<u64>, to: impl AsFd) -> Result<(), Error> {
    let is_file =
        rustix::fs::fstat(&to).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    // What a pipe takes without waiting, if it takes any.
    let chunk_len = if is_file { CHUNK } else { libc::PIPE_BUF };
    let mut chunk = vec![0; chunk_len.min((what.end - what.start) as usize)];
    let mut at = what.start;
    while at < what.end {
        let room = chunk.len().min((what.end - at) as usize);
        let read = from.read_at(&mut chunk[..room], at).map_err(Error::system("read"))?;
        if read == 0 {
            break; // cut meanwhile, by what writes to it
        }
        if let Err(error) = write_all(&chunk[..read], &to)? {
            REPORTED.call_once(|| {
                common::tell!("worker: what COMMAND prints is lost from here on: {}", error.desc());
            });
            break;
        }
        at += read as u64;
    }
    Ok(())
}

/// Writes it all. An error of the file's is handed out; the other one is a signal to this worker.
fn write_all(mut left: &[u8], to: impl AsFd) -> Result<nix::Result<()>, Error> {
    let start = Instant::now();
    while !left.is_empty() {
        heed_signals()?;
        if !wait_for(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PATIENCE)? {
            if start.elapsed() >= PATIENCE {
                STILL.call_once(|| {
                    common::note!("worker: waiting: nobody reads what COMMAND prints");
                });
            }
            continue;
        }
        match unistd::write(&to, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}
