//! The process harness: a directory of its own for each test, the real binaries in it, waiting for
//! readiness, and a failure report that holds everything needed.
#![forbid(unsafe_code)]

mod binaries;
mod cargo;
mod interrupt;
mod ipc;
pub mod mood;
mod namespaces;
pub mod oracle;
mod proc;
mod process;
pub mod ptrace;
mod sandbox;
mod stepped;
mod temp_dir;
mod work;

pub use binaries::{Binaries, Programs, built};
pub use cargo::Profile;
pub use interrupt::end_with_signals;
pub use ipc::{objects, objects_that_stay};
pub use lbctl::objects::IpcObject;
pub use namespaces::{in_namespace, unshare};
pub use proc::{
    is_in_set, memory_peak, processes, signal_all, spawned_number, status_field, stop,
    stop_outside_lock,
};
pub use process::{Ended, Process, this_program};
pub use sandbox::Sandbox;
pub use stepped::{killed_at, signalled_at_once};
pub use temp_dir::TempDir;
