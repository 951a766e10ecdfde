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
}

impl Role {
    /// Its program, whichever of several processes it is.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Balancer => "balancer",
            Self::Worker(_) => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(i) => write!(f, "client{i}"),
            Self::Balancer => f.write_str("balancer"),
            Self::Worker(k) => write!(f, "worker{k}"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbered = |prefix| text.strip_prefix(prefix).and_then(|n: &str| n.parse().ok());
        match (numbered("client"), numbered("worker"), text) {
            (Some(i), _, _) => Ok(Self::Client(i)),
            (_, Some(k), _) => Ok(Self::Worker(k)),
            (_, _, "balancer") => Ok(Self::Balancer),
            _ => Err(format!("`{text}` is no role: client1, balancer, worker1, …")),
        }
    }
}
