//! Waiting for a session: a balancer or worker that came before any submission. There is no ledger yet to
//! sleep on, so they watch the log (`inotify(7)`): whoever makes a ledger writes to it after that. Not the whole
//! directory, where anybody may write all the time.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::LazyLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::error::Error;
use crate::program::pause::pause;

/// How often to look where the log cannot be watched: each user may have only so many
/// (`fs.inotify.max_user_instances`, 128).
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One for the whole process. To close one takes the kernel some 15 ms (measured), in which nothing would be done
/// for the session that was waited for; to remove a watch from it takes none.
static INOTIFY: LazyLock<Option<Inotify>> =
    LazyLock::new(|| Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok());

/// Wakes when something happens to a log.
#[derive(Debug)]
pub struct Watch(Option<(&'static Inotify, WatchDescriptor)>);

impl Watch {
    /// Begins to watch. To be looked at is what is there from here on.
    #[must_use]
    pub fn new(log: &File) -> Self {
        // Its number of names is an attribute.
        let all = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ATTRIB;
        // The file that is open, whatever its path names by now.
        let path = format!("/proc/self/fd/{}", log.as_raw_fd());
        let watch = |inotify: &'static Inotify| inotify.add_watch(path.as_str(), all).ok();
        Self(INOTIFY.as_ref().and_then(|inotify| Some((inotify, watch(inotify)?))))
    }

    /// Waits until something has happened since the last call, for a signal, or for the time limit.
    pub fn wait(&self, limit: Duration) -> Result<(), Error> {
        let Some((inotify, _)) = &self.0 else {
            pause(LOOK_EVERY.min(limit));
            return Ok(());
        };
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let polled = poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout);
        // What it was is seen by looking; EAGAIN says that it was nothing. Once: more may come all the time.
        let _ = inotify.read_events();
        match polled {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Error::system("poll")(error)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((inotify, watch)) = self.0 {
            // It fails only if the log is gone, and its watch with it.
            let _ = inotify.rm_watch(watch);
        }
    }
}
