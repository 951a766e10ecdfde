//! What a COMMAND prints: collected in files without a name, and printed whole once it has ended.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Once;
use std::time::Duration;

use common::dead;
use common::error::{Error, heed_signals};
use common::instance::Instance;
use common::pause::pause;
use nix::errno::Errno;
use nix::unistd;
use rustix::fs::OFlags;

/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;
/// What an attempt leaves running may still print: it is over once nothing came for so long.
const SILENCE: Duration = Duration::from_millis(100);

/// Standard output and standard error of one attempt.
pub(crate) struct Output {
    stdout: File,
    stderr: File,
}

/// That what is printed goes nowhere is told once.
static TOLD: Once = Once::new();

impl Output {
    pub(crate) fn new() -> Result<Self, Error> {
        let file = || -> io::Result<File> {
            let file = tempfile::tempfile()?;
            // Whoever opens it again, as /dev/stderr, appends, too.
            rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
            Ok(file)
        };
        let pair = || -> io::Result<Self> { Ok(Self { stdout: file()?, stderr: file()? }) };
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

    /// Waits until what is left of the attempt prints nothing any more.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        let mut lens = None;
        while lens != Some(self.lens()?) {
            lens = Some(self.lens()?);
            heed_signals()?;
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
        let printed = copy(&self.stdout, stdout, io::stdout())
            .and_then(|()| copy(&self.stderr, stderr, io::stderr()));
        instance.end_output()?;
        printed
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

/// Copies so many bytes. A reader who has gone is told of, and does not stop the work: it was done.
fn copy(from: &File, len: u64, to: impl AsFd) -> Result<(), Error> {
    let mut chunk = vec![0; CHUNK.min(len as usize)];
    let mut at = 0;
    while at < len {
        let room = chunk.len().min((len - at) as usize);
        let read = from.read_at(&mut chunk[..room], at).map_err(Error::system("read"))?;
        if read == 0 {
            break; // cut meanwhile, by what writes to it
        }
        let mut left = &chunk[..read];
        while !left.is_empty() {
            match unistd::write(&to, left) {
                Ok(written) => left = &left[written..],
                Err(Errno::EINTR) => heed_signals()?,
                // A terminal or pipe that somebody has made non-blocking.
                Err(Errno::EAGAIN) => {
                    heed_signals()?;
                    pause(Duration::from_millis(1));
                }
                Err(error) => {
                    heed_signals()?;
                    TOLD.call_once(|| {
                        let _ = writeln!(
                            io::stderr(),
                            "worker: what COMMAND prints is lost from here on: {}",
                            error.desc()
                        );
                    });
                    return Ok(());
                }
            }
        }
        at += read as u64;
    }
    Ok(())
}
