//! Who is who in a directory, and which byte of `sistem.log` stands for it.

use nix::libc;

use crate::rotation::WorkerId;

/// What a process is in its directory. Held as a lock, so that the kernel, not a pid, tells
/// who is alive: an open file description lock on one byte of `sistem.log` far behind its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The load balancer: one.
    Balancer,
    /// A client: any number, so the lock is shared.
    Client,
    /// Worker k: one for each k.
    Worker(WorkerId),
}

impl Role {
    pub(crate) fn byte(self) -> i64 {
        const BEHIND_ANY_LOG: i64 = 1 << 62;
        BEHIND_ANY_LOG
            + match self {
                Self::Balancer => 0,
                Self::Client => 1,
                Self::Worker(worker) => 1 + i64::from(worker.get()),
            }
    }

    pub(crate) fn lock(self) -> libc::flock {
        let kind = if self == Self::Client { libc::F_RDLCK } else { libc::F_WRLCK };
        byte_lock(kind, self.byte())
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Balancer => "a load balancer".to_owned(),
            Self::Client => "a client".to_owned(),
            Self::Worker(worker) => format!("worker {worker}"),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "F_*LCK and SEEK_SET are small constants")]
pub(crate) fn byte_lock(kind: i32, byte: i64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0, // must be 0 for OFD locks
    }
}
