//! Waiting for a session: a balancer or worker that came before any submission. There is no ledger yet to
//! sleep on, so they watch the directory (`inotify(7)`): whoever makes a ledger writes to the log after it.

use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::{AsFd, AsRawFd};

use crate::error::Error;
use crate::instance::Directory;
use crate::pause::pause;

/// How often to look where the directory cannot be watched: each user may have only so many
/// (`fs.inotify.max_user_instances`, 128).
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Wakes when something happens in a directory.
#[derive(Debug)]
pub struct Watch(Option<Inotify>);

impl Watch {
    /// Begins to watch. To be looked at is what is there from here on.
    #[must_use]
    pub fn new(directory: &Directory) -> Self {
        let watched =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).and_then(|watch| {
                let all = AddWatchFlags::IN_MODIFY
                    | AddWatchFlags::IN_CREATE
                    | AddWatchFlags::IN_DELETE
                    | AddWatchFlags::IN_MOVE
                    | AddWatchFlags::IN_DELETE_SELF;
                // The directory that is open, whatever its path names by now.
                let path = format!("/proc/self/fd/{}", directory.file().as_raw_fd());
                watch.add_watch(path.as_str(), all)?;
                Ok(watch)
            });
        Self(watched.ok())
    }

    /// Waits until something has happened since the last call, for a signal, or for the time limit.
    pub fn wait(&self, limit: Duration) -> Result<(), Error> {
        let Some(watch) = &self.0 else {
            pause(LOOK_EVERY.min(limit));
            return Ok(());
        };
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let polled = poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], timeout);
        match polled {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Error::system("poll")(error)),
        }
        // What it was is seen by looking; EAGAIN says that it was nothing.
        while watch.read_events().is_ok() {}
        Ok(())
    }
}
