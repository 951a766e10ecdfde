//! A COMMAND that does all that a COMMAND may do: fails, dies, stops, leaves children, ignores signals. Each
//! attempt has its message's lock as long as any process of it lives, and tells of any that comes beside another.
//!
//! ```text
//! unruly DIR MOOD        a COMMAND, once per message or with --lines: see `tests::mood`
//! unruly hold|daemon …   what it starts
//! ```
//!
//! In DIR it appends to two files:
//!
//! ```text
//! attempts    try|ok <tab> ID <tab> ATTEMPT <tab> INDEX <tab> WORKER <tab> TEXT
//! overlaps    overlap|dying <tab> ID <tab> ATTEMPT <tab> who has the lock
//! ```
//!
//! `dying` is no overlap: a process that has no descriptors any more, and whose locks the kernel has not let go yet.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{close, getpid, getppid, setsid};
use tests::mood::{Leaving, Mood, Whim};

/// A lock that nobody is seen to have is let go of within this time.
const DYING_MAX: Duration = Duration::from_secs(2);
const ON_LATE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match args[..] {
        ["hold", ms, flags, lock] => hold(ms, flags, lock),
        ["daemon", ms, flags, lock] => daemon(ms, flags, lock),
        [dir, mood] => match mood.parse::<Mood>() {
            Ok(mood) if mood.lines => lines(Path::new(dir), mood),
            Ok(mood) => once(Path::new(dir), mood),
            Err(error) => Err(io::Error::other(error)),
        },
        _ => Err(io::Error::other("unruly DIR MOOD")),
    };
    if let Err(error) = ended {
        common::tell!("unruly: {error}");
        return ExitCode::from(70); // EX_SOFTWARE: no whim explains it
    }
    ExitCode::SUCCESS
}

/// A message, and what an attempt of it leaves as evidence.
struct Attempt<'a> {
    dir: &'a Path,
    id: String,
    number: u32,
    index: u32,
    text: String,
    /// Open in all processes of the attempt.
    lock: File,
}

fn once(dir: &Path, mood: Mood) -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let var = |name| std::env::var(name).map_err(io::Error::other);
    let text = text.trim_end_matches('\n').to_owned();
    let attempt = Attempt::begin(
        dir,
        var("LB_ID")?,
        number(&var("LB_ATTEMPT")?)?,
        number(&var("LB_INDEX")?)?,
        text,
    )?;
    match attempt.act(mood)? {
        Verdict::Done => Ok(()),
        Verdict::Failed | Verdict::Wrong | Verdict::Gone => exit(1),
        Verdict::Dead => exit(65),
    }
}

fn lines(dir: &Path, mood: Mood) -> io::Result<()> {
    let worker = std::env::var("LB_WORKER").map_err(io::Error::other)?;
    // Not handed on: a message's children have that one's.
    let _own = locked(dir, &format!("worker-{worker}"), 0)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        let [id, attempt, index, text] = parts[..] else {
            return Err(io::Error::other(format!("not a message: {line}")));
        };
        let attempt =
            Attempt::begin(dir, id.to_owned(), number(attempt)?, number(index)?, text.to_owned())?;
        let answer = match attempt.act(mood)? {
            Verdict::Done => "ok",
            Verdict::Failed => "retry\tin a mood",
            Verdict::Dead => "dead\tin a mood",
            Verdict::Wrong => {
                say(id, "nonsense")?;
                // Until it is ended for it, the attempt is not over.
                sleep(Duration::from_secs(10));
                continue;
            }
            Verdict::Gone => exit(1),
        };
        drop(attempt);
        say(id, answer)?;
    }
    Ok(())
}

fn say(id: &str, answer: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{id}\t{answer}\n").as_bytes())?;
    stdout.flush()
}

fn number(text: &str) -> io::Result<u32> {
    text.parse().map_err(io::Error::other)
}

enum Verdict {
    Done,
    Failed,
    Dead,
    Wrong,
    /// It ends at once.
    Gone,
}

impl<'a> Attempt<'a> {
    fn begin(
        dir: &'a Path,
        id: String,
        attempt: u32,
        index: u32,
        text: String,
    ) -> io::Result<Self> {
        let lock = locked(dir, &id, attempt)?;
        fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let begun = Self { dir, id, number: attempt, index, text, lock };
        begun.record("try")?;
        Ok(begun)
    }

    fn act(&self, mood: Mood) -> io::Result<Verdict> {
        let whim = mood.whim(&self.text, self.index, self.number);
        let work = |ms| sleep(Duration::from_millis(ms));
        match whim {
            Whim::Work(ms) => work(ms),
            Whim::Delegate(to) => {
                // It may have been killed, and have left another one: not `retry`, which says that all is over.
                if !self.leave(to)?.wait()?.success() {
                    return Ok(Verdict::Gone);
                }
                if to.daemon {
                    work(to.ms); // what was waited for is only the first of two
                }
            }
            Whim::WorkAndLeave(child) => drop(self.leave(child)?),
            Whim::SayAlive(ms) => {
                say(&self.id, "alive")?;
                work(ms);
            }
            Whim::Fail => return Ok(Verdict::Failed),
            Whim::GiveUp => return Ok(Verdict::Dead),
            Whim::FailAndLeave(child) => {
                let mut left = self.leave(child)?;
                if child.daemon {
                    left.wait()?; // only the first of two
                }
                return Ok(Verdict::Gone);
            }
            Whim::AnswerWrong => return Ok(Verdict::Wrong),
            Whim::KillItself => kill(getpid(), Signal::SIGKILL)?,
            Whim::KillWorker(orphan) => {
                let parent = getppid();
                if let Some(child) = orphan {
                    self.leave(child)?.wait()?; // only the first of two
                }
                // It may be another one already.
                let exe = fs::read_link(format!("/proc/{parent}/exe"));
                if exe.is_ok_and(|exe| exe.ends_with("worker")) {
                    kill(parent, Signal::SIGKILL)?;
                }
                if orphan.is_none() {
                    work(10_000);
                }
                return Ok(Verdict::Gone);
            }
            Whim::StopItself => kill(getpid(), Signal::SIGSTOP)?,
            Whim::Dawdle { stubborn } => {
                be_stubborn(stubborn)?;
                sleep(mood.timeout.unwrap_or_default() + ON_LATE);
            }
        }
        self.record("ok")?;
        Ok(Verdict::Done)
    }

    fn leave(&self, child: Leaving) -> io::Result<Child> {
        let Leaving { ms, daemon, closes, bare, stubborn } = child;
        let flags = [(closes, 'c'), (bare, 'b'), (stubborn, 's')];
        let flags: String =
            flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).collect();
        let what = if daemon { "daemon" } else { "hold" };
        start(what, &ms.to_string(), &flags, &self.lock.as_raw_fd().to_string())
    }

    fn record(&self, what: &str) -> io::Result<()> {
        let Self { dir, id, number: attempt, index, text, .. } = self;
        let worker = std::env::var("LB_WORKER").unwrap_or_default();
        append(
            &dir.join("attempts"),
            &format!("{what}\t{id}\t{attempt}\t{index}\t{worker}\t{text}\n"),
        )
    }
}

fn start(what: &str, ms: &str, flags: &str, lock: &str) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    // Not standard output: with --lines that is for answers.
    command.args([what, ms, flags, lock]).stdin(Stdio::null()).stdout(Stdio::null());
    if flags.contains('b') {
        command.env_clear();
    }
    command.spawn()
}

/// Has what was inherited open for so long.
fn hold(ms: &str, flags: &str, lock: &str) -> io::Result<()> {
    be_stubborn(flags.contains('s'))?;
    if flags.contains('c') {
        let lock = number(lock)?.cast_signed();
        let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        for fd in open.into_iter().filter(|&fd| fd != lock) {
            let _ = close(fd); // that of the directory itself is closed already
        }
    }
    sleep(Duration::from_millis(number(ms)?.into()));
    Ok(())
}

/// Leaves session, group and parent; then the same.
fn daemon(ms: &str, flags: &str, lock: &str) -> io::Result<()> {
    setsid()?;
    start("hold", ms, flags, lock).map(drop)
}

fn be_stubborn(stubborn: bool) -> io::Result<()> {
    if stubborn {
        SigSet::from(Signal::SIGTERM).thread_block()?;
    }
    Ok(())
}

/// Takes a lock that nobody can have. Who has it is reported.
fn locked(dir: &Path, name: &str, attempt: u32) -> io::Result<File> {
    let path = dir.join("locks").join(name);
    let file = OpenOptions::new().append(true).create(true).open(&path)?;
    let start = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        let holders = holders(&path);
        let is_over = start.elapsed() > DYING_MAX;
        if !holders.is_empty() || is_over || !told {
            let is_overlap = !holders.is_empty() || is_over;
            let what = if is_overlap { "overlap" } else { "dying" };
            let line = format!("{what}\t{name}\t{attempt}\t{}\n", holders.join("; "));
            append(&dir.join("overlaps"), &line)?;
            told = true;
            if is_overlap {
                return Ok(file); // on without it
            }
        }
        sleep(Duration::from_micros(200));
    }
}

/// Other processes that have a file open: one that is dying has none any more.
fn holders(path: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let has_it = |pid: &String| {
        entries(format!("/proc/{pid}/fd").into())
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|of| of == path))
    };
    let told = |pid: String| {
        let read = |what| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let (stat, cmdline) = (read("stat"), read("cmdline"));
        format!(
            "{} [{}]",
            String::from_utf8_lossy(&stat).split(' ').take(5).collect::<Vec<_>>().join(" "),
            String::from_utf8_lossy(&cmdline).replace('\0', " ")
        )
    };
    let pids = entries("/proc".into()).filter_map(|entry| entry.file_name().into_string().ok());
    let pids = pids.filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && *name != own);
    pids.filter(has_it).map(told).collect()
}

/// One write: lines do not mix.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(line.as_bytes())
}
