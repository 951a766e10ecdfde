//! What runs beside the main thread: the connection to the servers. Signals are the main thread's.

use common::error::Error;
use nix::sys::signal::SigSet;
use tokio::runtime::{Builder, Runtime};

/// Begins it.
pub(crate) fn begin() -> Result<Runtime, Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(|| {
            // Else a signal that this thread took would not interrupt the main one. It cannot fail.
            let _ = SigSet::all().thread_block();
        })
        .enable_all()
        .build();
    runtime.map_err(Error::system("a thread"))
}
