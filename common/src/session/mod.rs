//! A session's IPC objects: found, made, rebuilt from the log, and removed. The ledger is made and removed
//! only under the log's lock.

pub mod aside;
pub mod begin;
pub mod end;
