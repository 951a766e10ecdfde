//! What goes in and what comes out: submissions, the lines of the log, and whose turn it is. Nothing here reads, writes or
//! waits.

pub mod line;
pub mod message_id;
mod number;
pub mod rotation;
pub mod submission;

/// The log's name in its directory.
pub const LOG_NAME: &str = "sistem.log";
/// The name of the file of dead letters, beside it.
pub const DEAD_NAME: &str = "sistem.dead";
