//! Waiting for descriptors: a pidfd is readable once its process has ended.

use std::time::Duration;

use common::error::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

/// Waits until something can be done with one of them; false after so long, or a signal.
pub(crate) fn wait_for(what: &mut [PollFd<'_>], limit: Duration) -> Result<bool, Error> {
    // Rounded up: else the last millisecond would be waited for in a circle.
    let limit = limit.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(what, limit) {
        Err(Errno::EINTR) => Ok(false),
        polled => polled.map(|ready| ready > 0).map_err(Error::system("poll")),
    }
}
