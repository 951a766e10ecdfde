//! What the processes of Pipip's load balancer must agree on byte for byte.
//!
//! Each folder is one part of that, and uses those above it only:
//!
//! | folder | is |
//! |---|---|
//! | [`fence`] | the system calls that need `unsafe`; it knows the ledger's layout |
//! | [`grammar`] | what goes in and what comes out: submissions, the log's lines, whose turn it is |
//! | [`program`], [`error`] | what every program does: errors, messages, help, words to the service manager |
//! | [`ledger`] | the truth about a session, in shared memory |
//! | [`instance`] | a directory: its log as a file, the locks on it, the keys of its IPC objects |
//! | [`queue`] | the message queues, and what travels through them |
//! | [`dead`] | messages whose execution failed for good, and what became of them |
//! | [`history`] | what a log says, read back |
//! | [`session`] | a session begins, is read back from the log, and ends |
//! | [`log`] | the one way into the log |

pub mod dead;
pub mod error;
pub mod fence;
pub mod grammar;
pub mod history;
pub mod instance;
pub mod ledger;
pub mod log;
pub mod program;
pub mod queue;
pub mod session;
