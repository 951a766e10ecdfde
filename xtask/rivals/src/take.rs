//! A worker: a line in the log for each message.

use std::io;

use crate::Args;
use crate::log::Log;

/// What is to be done when a message has come.
pub(crate) type Executed<'a> = &'a mut dyn FnMut() -> io::Result<()>;

/// Takes messages until there are no more.
pub(crate) fn run(
    worker: usize,
    args: &Args,
    take: impl FnOnce(Executed<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut log = Log::open(&args.log)?;
    let line = format!("Worker{worker}: message received\n").into_bytes();
    take(&mut || log.line(&line))?;
    log.flush()
}
