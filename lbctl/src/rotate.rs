//! `lbctl rotate`: has the log renamed, and another one begun.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::advice;
use common::error::{Error, report};
use common::instance::{Instance, LOG_NAME};
use common::pause::pause;
use common::session;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::snapshot::{Onlooker, Seen};
use crate::terminal::print;

/// How often it looks whether the log has been renamed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What takes longer is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Have the log renamed to sistem.log.1 (or the next free number), and another one begun.
///
/// A load balancer that runs with --serve ends its session first: what was accepted is executed, and the totals
/// are logged. Clients wait meanwhile, and lose nothing. Prints the log's new name.
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
  sistem.log.1  the one before; with the next free number

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

fn rotate(dir: &Path) -> Result<(), Error> {
    let log = fs::metadata(dir.join(LOG_NAME)).map_err(Error::Log)?;
    if log.len() == 0 {
        return Err(refused("it is empty"));
    }
    let inode = log.ino();
    let balancer = Onlooker::new(dir)?.look()?.balancer.process;
    if !balancer.is_there() {
        // Nobody is asked, so it is done here.
        let renamed = session::rotate(&Instance::open(dir)?)?;
        return match renamed {
            Some(name) => print(&format!("{}\n", name.display())),
            None => {
                Err(refused("it is empty, or its session is unfinished: start a load balancer"))
            }
        };
    }
    let Some(process) = balancer.seen() else {
        return Err(refused("its load balancer is another user's, or in another PID namespace"));
    };
    let handle = ask(dir, process)?;
    let (start, mut told) = (Instant::now(), false);
    while is_named(dir, inode) {
        let mut ended = [PollFd::new(&handle, PollFlags::IN)];
        if poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ended| ended > 0) {
            return Err(refused("its load balancer has ended meanwhile"));
        }
        if start.elapsed() > PATIENCE && !std::mem::replace(&mut told, true) {
            common::note!("lbctl: waiting until what was accepted is executed");
        }
        pause(LOOK_EVERY);
    }
    let name = (1..).map(|number| dir.join(format!("{LOG_NAME}.{number}")));
    let name = name.take_while(|name| name.exists()).find(|name| inode_is(name, inode));
    name.map_or(Ok(()), |name| print(&format!("{}\n", name.display())))
}

/// Asks the load balancer. Returns what tells whether it lives.
fn ask(dir: &Path, process: Seen) -> Result<OwnedFd, Error> {
    let failed = |error| Error::system("pidfd_open")(io::Error::from(error));
    let handle = Pid::from_raw(process.pid).ok_or(Errno::SRCH);
    let handle = handle.and_then(|pid| pidfd_open(pid, PidfdFlags::empty())).map_err(failed)?;
    let arguments = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    if !arguments.split(|&byte| byte == 0).any(|argument| argument == b"--serve") {
        return Err(refused(
            "its load balancer runs without --serve: the log is whole when it ends",
        ));
    }
    // The number was its own when the handle was made, if it still has the role.
    let now = Onlooker::new(dir)?.look()?.balancer.process.seen();
    if now.is_none_or(|now| now.pid != process.pid) {
        return Err(refused("its load balancer has ended, or just rotates it"));
    }
    pidfd_send_signal(&handle, Signal::USR1).map_err(failed)?;
    Ok(handle)
}

fn refused(why: &str) -> Error {
    Error::Log(io::Error::other(format!("cannot be rotated: {why}")))
}

fn inode_is(path: &Path, inode: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.ino() == inode)
}

fn is_named(dir: &Path, inode: u64) -> bool {
    inode_is(&dir.join(LOG_NAME), inode)
}
