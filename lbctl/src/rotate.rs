//! `lbctl rotate`: has the log renamed, and another one begun.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::error::{Error, report};
use common::grammar::LOG_NAME;
use common::instance::Instance;
use common::instance::role::Role;
use common::program::advice::{self, LOG};
use common::program::pause::pause;
use common::session::aside;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::snapshot::{Onlooker, SessionState};
use crate::terminal::print;

/// How often it looks whether the log has been renamed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What takes longer is reported, and asked for again.
const PATIENCE: Duration = Duration::from_secs(1);
/// So often: a request may be lost between two logs, but not each one.
const TIMES_MAX: u32 = 4;

/// Have the log renamed to sistem.log.1 (or the next number), and another one begun.
///
/// A load balancer that runs with --serve ends its session first: what was accepted is executed, and the totals
/// are logged. Clients wait meanwhile, and lose nothing. Prints the log's new name; nothing, if the log was empty.
#[derive(clap::Args)]
#[command(
    before_help = "\
Examples:
  Begin another log, and compress the one before:
      gzip \"$(lbctl rotate)\"
  In another directory:
      lbctl rotate --dir /srv/jobs",
    after_long_help = "\
Exit status:
  0  done
  2  wrong usage
  3  there is no such directory, no log in it, or it cannot be renamed now

Files:
  sistem.log    the log, in DIR
  sistem.log.1  the one before; or with the next number

See also:
  lbctl(1), loadbalancer(1)"
)]
pub struct Args {
    /// The directory whose log it is.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Rotates. Returns the exit code.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    advice::give(&args.dir, None);
    report("lbctl", rotate(&args.dir).map(|()| 0))
}

/// A load balancer that was asked.
struct Asked {
    /// Returns whether it lives.
    handle: OwnedFd,
    when: Instant,
    /// By so many signals.
    times: u32,
}

fn rotate(dir: &Path) -> Result<(), Error> {
    let log = fs::metadata(dir.join(LOG_NAME)).map_err(Error::Log)?;
    if log.len() == 0 {
        common::note!("lbctl: {LOG} is empty: there is nothing to rotate");
        return Ok(());
    }
    let inode = log.ino();
    let mut onlooker = Onlooker::new(dir)?;
    let (start, mut reported) = (Instant::now(), false);
    let mut asked: Option<Asked> = None;
    // Whoever renames it, it is renamed.
    while is_named(dir, inode)? {
        match &asked {
            Some(asked) if asked.has_ended() => {
                return Err(refused("its load balancer has ended meanwhile"));
            }
            Some(asked) if asked.when.elapsed() < PATIENCE => {}
            Some(asked) if asked.times >= TIMES_MAX => {
                return Err(refused("its load balancer does not rename it: see what that says"));
            }
            _ => {
                let times = asked.as_ref().map_or(0, |asked| asked.times);
                let again = ask(&mut onlooker)?.map(|it| Asked { times: it.times + times, ..it });
                asked = again.or(asked);
            }
        }
        // By its name: a log that was open to others has been replaced by a private copy, another file.
        if asked.is_none()
            && let Some(name) = rotate_here(dir, inode)?
        {
            let name = dir.join(name.file_name().unwrap_or_default());
            return print(&format!("{}\n", name.display()));
        }
        if start.elapsed() > PATIENCE && !std::mem::replace(&mut reported, true) {
            common::note!("lbctl: waiting until what was accepted is executed");
        }
        pause(LOOK_EVERY);
    }
    let is_it = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|file| file.ino() == inode);
    let entries = fs::read_dir(dir).map_err(Error::Log)?.filter_map(Result::ok);
    let mut aside = entries.filter(is_it).map(|entry| entry.path());
    // Somebody may have taken it away since.
    aside.next().map_or(Ok(()), |name| print(&format!("{}\n", name.display())))
}

/// Asks the load balancer; also once more, if the log is not the one any more that it was asked for. Nothing: none
/// is running.
fn ask(onlooker: &mut Onlooker) -> Result<Option<Asked>, Error> {
    let seen = onlooker.look()?;
    let balancer = &seen.balancer.process;
    if !balancer.is_there() {
        return Ok(None);
    }
    let Some(process) = balancer.seen() else {
        return Err(refused(
            "its load balancer is another user's, or in another PID namespace: send it SIGUSR1 there",
        ));
    };
    let failed = |error| Error::system("pidfd_open")(io::Error::from(error));
    let pid = Pid::from_raw(process.pid).ok_or(Errno::SRCH).map_err(failed)?;
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let arguments = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    // The number was its own when the handle was made, if it still has the role.
    let now = onlooker.look()?.balancer.process.seen();
    if now.is_none_or(|now| now.pid != process.pid) {
        return Ok(None);
    }
    // What follows `--` is COMMAND's.
    let mut own = arguments.split(|&byte| byte == 0).take_while(|argument| *argument != b"--");
    if !own.any(|argument| argument == b"--serve") {
        return Err(refused(
            "its load balancer runs without --serve: the log is whole when it ends",
        ));
    }
    // Once it is about to, it need not be asked again.
    let is_due = !seen.session.is_some_and(|session| session.state == SessionState::Closing);
    if is_due {
        pidfd_send_signal(&handle, Signal::USR1).map_err(failed)?;
    }
    Ok(Some(Asked { handle, when: Instant::now(), times: u32::from(is_due) }))
}

/// Rotates it itself, where no load balancer is running. Returns its new name; nothing if one comes, or goes on with
/// another log.
fn rotate_here(dir: &Path, inode: u64) -> Result<Option<PathBuf>, Error> {
    let instance = Instance::open(dir)?;
    if instance.balancer_workers()?.is_some() {
        return Ok(None);
    }
    // Refused where somebody uses the log from elsewhere: his session cannot be seen from here.
    instance.hold(Role::Client)?;
    match aside::rotate(&instance, false) {
        Ok(Some(name)) => Ok(Some(name)),
        Ok(None) if is_named(dir, inode)? && instance.balancer_workers()?.is_none() => {
            Err(refused("its session is unfinished: start a load balancer"))
        }
        Err(Error::LogReplaced) if !instance.is_log_replaced() => Err(Error::LogReplaced),
        Ok(None) | Err(Error::LogReplaced) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Asked {
    fn has_ended(&self) -> bool {
        let mut ended = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
    }
}

fn refused(why: &str) -> Error {
    Error::Log(io::Error::other(format!("cannot be rotated: {why}")))
}

/// Whether this is the log still, and no other one, or none, has its name.
fn is_named(dir: &Path, inode: u64) -> Result<bool, Error> {
    match fs::metadata(dir.join(LOG_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => Ok(found.map_err(Error::Log)?.ino() == inode),
    }
}
