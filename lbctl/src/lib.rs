//! What people look at a load balancer with: its log, its IPC objects and its dead letters; and what they do about
//! the latter. The program `lbctl` is a thin shell around it; `cargo xtask` and the tests use the same code.
#![forbid(unsafe_code)]

pub mod args;
pub mod dead;
pub mod inspect;
#[cfg(feature = "full")]
pub mod metrics;
pub mod objects;
pub mod rotate;
pub mod snapshot;
pub mod status;
pub mod terminal;
pub mod verify;
#[cfg(feature = "full")]
pub mod watch;
