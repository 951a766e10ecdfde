//! What people look at a load balancer with: its log and its IPC objects. The program `lbctl` is a thin shell
//! around it; `cargo xtask` and the tests use the same code.
#![forbid(unsafe_code)]

pub mod inspect;
pub mod objects;
pub mod terminal;
pub mod verify;
