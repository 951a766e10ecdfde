//! A COMMAND for scenarios with work: this program, called again as `crash handler DIR …`. It does with each message
//! what the scenario wants, and writes down what it did, and whether two were at one message at once.
//!
//! A line of the record is `ID ATTEMPT WORD`, appended by one write. What shows a message being worked on is a
//! lock (`flock(2)`) that whoever is left has, too.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getppid;

/// The first argument of this program that makes it a COMMAND.
pub(crate) const NAME: &str = "handler";
/// The file with the record.
pub(crate) const RECORD: &str = "handled";

/// Far longer than anything is waited for: who is not ended is found.
const LONG: Duration = Duration::from_secs(600);
/// So long what is left by a success lives on.
const SHORT: Duration = Duration::from_millis(20);
/// `EX_DATAERR` of sysexits.h.
const DEAD: u8 = 65;

/// What is done with a message, instead of just doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The first attempt fails.
    Fails,
    /// The first attempt never ends.
    Hangs,
    /// The first attempt leaves a process and fails, the second one leaves one and succeeds.
    Leaves,
    /// With `--lines`: ends without an answer at the first attempt.
    Ends,
    /// Each attempt fails.
    Never,
    /// It says that it can never be done.
    Dead,
    /// Each attempt kills its worker.
    Kills,
}

const DEEDS: [(&str, Deed); 7] = [
    ("fails", Deed::Fails),
    ("hangs", Deed::Hangs),
    ("leaves", Deed::Leaves),
    ("ends", Deed::Ends),
    ("never", Deed::Never),
    ("dead", Deed::Dead),
    ("kills", Deed::Kills),
];

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    Dead,
    /// Without an answer.
    Ended,
}

/// One attempt of a message.
struct Attempt {
    id: String,
    number: u32,
    index: u32,
}

struct Handler {
    dir: PathBuf,
    /// What to do with the message of this index.
    deeds: Vec<(u32, Deed)>,
}

/// What a COMMAND's arguments are: where to write, and what to do with which message.
pub(crate) fn arguments(dir: &str, lines: bool, deeds: &[(u32, Deed)]) -> Vec<String> {
    let name = |deed| DEEDS.iter().find(|known| known.1 == deed).map_or("", |known| known.0);
    let deeds = deeds.iter().map(|&(index, deed)| format!("{}={index}", name(deed)));
    let fixed = [NAME, dir, if lines { "lines" } else { "once" }].map(str::to_owned);
    fixed.into_iter().chain(deeds).collect()
}

/// When this process is only to be a COMMAND: is it, and returns its exit code.
pub(crate) fn be_command() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == NAME).then(|| {
        run(args).unwrap_or_else(|error| {
            common::tell!("{NAME}: {error}");
            ExitCode::FAILURE
        })
    })
}

fn run(mut args: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
    let (Some(dir), Some(how)) = (args.next(), args.next()) else { return Err(wrong("arguments")) };
    let deeds = args.map(|arg| deed(&arg)).collect::<io::Result<_>>()?;
    let handler = Handler { dir: dir.into(), deeds };
    if how == "lines" { handler.lines() } else { handler.once() }
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("wrong: {what}"))
}

fn deed(arg: &OsString) -> io::Result<(u32, Deed)> {
    let parse = || {
        let (name, index) = arg.to_str()?.split_once('=')?;
        let known = DEEDS.iter().find(|known| known.0 == name)?;
        Some((index.parse().ok()?, known.1))
    };
    parse().ok_or_else(|| wrong(&arg.to_string_lossy()))
}

fn parsed<T: FromStr>(text: Option<&str>) -> io::Result<T> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| wrong("a message"))
}

impl Handler {
    fn once(&self) -> io::Result<ExitCode> {
        let variable = |name| std::env::var(name).ok();
        let id = variable("LB_ID").ok_or_else(|| wrong("LB_ID"))?;
        let number = parsed(variable("LB_ATTEMPT").as_deref())?;
        let index = parsed(variable("LB_INDEX").as_deref())?;
        let mut text = String::new();
        io::stdin().read_line(&mut text)?;
        let outcome = self.attempt(&Attempt { id, number, index })?;
        // It is printed whole, whatever becomes of it.
        let printed = format!("{}: {outcome:?}\n", text.trim_end());
        io::stdout().write_all(printed.as_bytes())?;
        common::tell!("attempt {number} of message {index}");
        Ok(match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Dead => DEAD.into(),
            Outcome::Failed | Outcome::Ended => ExitCode::FAILURE,
        })
    }

    fn lines(&self) -> io::Result<ExitCode> {
        for line in io::stdin().lock().lines() {
            let line = line?;
            let mut parts = line.splitn(4, '\t');
            let id = parts.next().unwrap_or_default().to_owned();
            let number = parsed(parts.next())?;
            let index = parsed(parts.next())?;
            let answer = match self.attempt(&Attempt { id: id.clone(), number, index })? {
                Outcome::Done => "ok",
                Outcome::Failed => "retry\tit is the first attempt",
                Outcome::Dead => "dead\tit can never be done",
                Outcome::Ended => return Ok(ExitCode::FAILURE),
            };
            io::stdout().write_all(format!("{id}\t{answer}\n").as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn attempt(&self, it: &Attempt) -> io::Result<Outcome> {
        let lock = File::create(self.dir.join(format!("{}.lock", it.id)))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => self.record(it, "overlap")?,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        self.record(it, "begin")?;
        let deed = self.deeds.iter().find(|deed| deed.0 == it.index).map(|deed| deed.1);
        let is_first = it.number == 1;
        let outcome = match deed {
            Some(Deed::Dead) => Outcome::Dead,
            Some(Deed::Never) => Outcome::Failed,
            Some(Deed::Fails) if is_first => Outcome::Failed,
            Some(Deed::Ends) if is_first => Outcome::Ended,
            Some(Deed::Hangs) if is_first => {
                thread::sleep(LONG);
                Outcome::Failed
            }
            Some(Deed::Leaves) => {
                leave(&lock, if is_first { LONG } else { SHORT })?;
                if is_first { Outcome::Failed } else { Outcome::Done }
            }
            Some(Deed::Kills) => {
                kill_worker();
                Outcome::Failed
            }
            _ => Outcome::Done,
        };
        self.record(it, if outcome == Outcome::Done { "done" } else { "failed" })?;
        Ok(outcome)
    }

    fn record(&self, it: &Attempt, word: &str) -> io::Result<()> {
        let mut record =
            OpenOptions::new().append(true).create(true).open(self.dir.join(RECORD))?;
        record.write_all(format!("{} {} {word}\n", it.id, it.number).as_bytes())
    }
}

/// Leaves a process that sleeps, in a group of its own, with the lock that says that it is at the message.
fn leave(lock: &File, time: Duration) -> io::Result<()> {
    fcntl(lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut sleep = Command::new("sleep");
    sleep.arg(time.as_secs_f64().to_string()).process_group(0).spawn()?;
    fcntl(lock, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Kills the worker that has started this one. If it is dead already, the parent is the load balancer.
fn kill_worker() {
    let parent = getppid();
    let name = std::fs::read_to_string(Path::new("/proc").join(parent.to_string()).join("comm"));
    if name.is_ok_and(|name| name.trim_end() == "worker") {
        // The number is that of the worker or of nobody.
        let _ = kill(parent, Signal::SIGKILL);
    }
    // Until whoever kills orphans has come.
    thread::sleep(LONG);
}
