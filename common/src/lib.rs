//! What the processes of Pipip's load balancer must agree on byte for byte.
//!
//! Read it in this order: [`submission`] and [`mod@line`] are what goes in and what comes out;
//! [`rotation`] says who gets which message; [`layout`] and [`ledger`] are the truth in shared memory;
//! [`journal`] is the one way into the log; [`frame`] is what travels through the queues; [`session`]
//! begins and ends it all. [`fence`] alone contains `unsafe`.

pub mod advice;
pub mod bell;
pub mod cell;
mod checksum;
pub mod children;
pub mod cursors;
pub mod dead;
pub mod error;
pub mod fence;
pub mod frame;
pub mod help;
pub mod history;
pub mod instance;
pub mod journal;
pub mod layout;
pub mod ledger;
pub mod line;
pub mod line_file;
mod lock;
pub mod log_file;
pub mod naming;
pub mod pause;
pub mod process_stat;
pub mod record;
pub mod render;
pub mod replay;
pub mod ring;
pub mod role;
pub mod rotation;
pub mod runs;
pub mod say;
pub mod service_manager;
pub mod session;
pub mod settled;
pub mod steps;
pub mod submission;
mod sync;
mod transaction;
pub mod waiting;
pub mod work;
