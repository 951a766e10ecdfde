//! Who takes part in the contest of throughput.

use serde::Serialize;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Contestant {
    /// The identical bytes, written by one process.
    Limit,
    /// Our whole job.
    Ours,
    /// A message per `msgsnd`, nothing logged.
    RawQueue,
    /// The original's design: each line opens, locks, writes and closes the log.
    LineAtATime,
    /// Buffered pipes with the same log, and no promises.
    Pipes,
    /// The same by ZeroMQ.
    #[serde(rename = "zeromq")]
    ZeroMq,
    /// The same by lists of Redis.
    Redis,
}

impl Contestant {
    /// Those at one submission of many messages, in the order in which they are shown.
    pub(super) const AT_MANY: [Self; 4] =
        [Self::Limit, Self::Ours, Self::RawQueue, Self::LineAtATime];
    /// Those at a file of lines.
    pub(super) const AT_LINES: [Self; 5] =
        [Self::Limit, Self::Ours, Self::Pipes, Self::ZeroMq, Self::Redis];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Ours => "ours",
            Self::RawQueue => "raw queue",
            Self::LineAtATime => "line at a time",
            Self::Pipes => "pipes",
            Self::ZeroMq => "ZeroMQ",
            Self::Redis => "Redis",
        }
    }

    /// Most messages that it gets: more would only take longer.
    pub(super) fn messages_max(self) -> u32 {
        match self {
            Self::Limit | Self::Ours | Self::Pipes => u32::MAX,
            Self::ZeroMq | Self::Redis => 1_000_000,
            Self::RawQueue => 200_000,
            Self::LineAtATime => 20_000,
        }
    }
}
