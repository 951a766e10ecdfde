//! The one way into `sistem.log`: submissions are accepted, and lines that are ready are written, each
//! as a [transaction](crate::ledger) under the log's lock.

pub mod accept;
pub mod advance;
mod close;
pub mod journal;
pub mod render;
pub mod retry;
mod runs;
mod transaction;
