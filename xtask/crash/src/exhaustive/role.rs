//! The processes of a scenario, by name.

use std::fmt;
use std::str::FromStr;

/// A process of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// The client of submission i, from 1 on.
    Client(u32),
    Balancer,
    Worker(u32),
    /// The first COMMAND that worker k starts.
    Handler(u32),
}

impl Role {
    /// Its program, whichever of several processes it is.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Balancer => "balancer",
            Self::Worker(_) => "worker",
            Self::Handler(_) => "handler",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(i) => write!(f, "client{i}"),
            Self::Balancer => f.write_str("balancer"),
            Self::Worker(k) => write!(f, "worker{k}"),
            Self::Handler(k) => write!(f, "handler{k}"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbered = |prefix| text.strip_prefix(prefix).and_then(|n: &str| n.parse().ok());
        let client = || numbered("client").map(Self::Client);
        let worker = || numbered("worker").map(Self::Worker);
        let handler = || numbered("handler").map(Self::Handler);
        match text {
            "balancer" => Ok(Self::Balancer),
            _ => client().or_else(worker).or_else(handler).ok_or_else(|| {
                format!("`{text}` is no role: client1, balancer, worker1, handler1, …")
            }),
        }
    }
}
