//! What a service manager hears of this process: `sd_notify(3)`. Without one nothing is done.
//!
//! Each message is a datagram to the socket that `NOTIFY_SOCKET` names. None of them is waited for: where the manager
//! does not read, what matters is sent again at the next [`beat`], and where it is gone nobody misses it. (The crate
//! `sd-notify` waits for room in the socket, and this process would hang with its manager.)

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];
/// Sockets that the manager opened for this process: it wants none of them.
const SOCKETS: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// While it begins, or comes to its end, it asks for more time so often, and for so much.
const EXTEND_EVERY: Duration = Duration::from_secs(1);
const EXTEND_BY: Duration = Duration::from_secs(30);
/// What says more often what the status is, is not read by people any more.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// What a manager that does not read may find later.
const UNSENT_MAX: usize = 2048;

static MANAGER: OnceLock<Mutex<Manager>> = OnceLock::new();

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Assignments that found no room.
    unsent: String,
    is_ready: bool,
    is_stopping: bool,
    status: String,
    status_at: Instant,
    /// How often it must hear that this process does not hang.
    watchdog: Option<Duration>,
    beaten_at: Instant,
    extended_at: Instant,
}

/// Finds out whether there is one. Before it hears anything.
pub fn begin() {
    let Some(name) = env::var_os(SOCKET) else { return };
    if let Ok(manager) = Manager::of(&name) {
        // A process begins once.
        let _ = MANAGER.set(Mutex::new(manager));
    }
}

/// Whether there is one.
#[must_use]
pub fn is_there() -> bool {
    MANAGER.get().is_some()
}

/// Keeps what is meant for this process from one that it starts.
pub fn keep_from(command: &mut Command) -> &mut Command {
    let all = [SOCKET].into_iter().chain(WATCHDOG).chain(SOCKETS);
    all.fold(command, |command, name| command.env_remove(name))
}

/// The process does what it is there for.
pub fn ready() {
    if let Some(mut manager) = manager()
        && !std::mem::replace(&mut manager.is_ready, true)
    {
        manager.send("READY=1\n");
    }
}

/// What it does, in a line.
pub fn status(line: impl FnOnce() -> String) {
    let Some(mut manager) = manager() else { return };
    if manager.status_at.elapsed() >= STATUS_EVERY || manager.status.is_empty() {
        manager.notify(line());
    }
}

/// The same, when that is something else than before.
pub fn status_now(line: &str) {
    if let Some(mut manager) = manager() {
        manager.notify(line.to_owned());
    }
}

/// It comes to its end. From here on [`beat`] asks for the time that this takes.
pub fn stopping() {
    if let Some(mut manager) = manager()
        && !std::mem::replace(&mut manager.is_stopping, true)
    {
        manager.send("STOPPING=1\n");
        manager.extend();
    }
}

/// It does not hang. Said by the loop itself: a thread would go on when that does not.
pub fn beat() {
    let Some(mut manager) = manager() else { return };
    if manager.watchdog.is_some_and(|every| manager.beaten_at.elapsed() >= every) {
        manager.beaten_at = Instant::now();
        manager.send("WATCHDOG=1\n");
    }
    let takes_long = manager.is_stopping || !manager.is_ready;
    if takes_long && manager.extended_at.elapsed() >= EXTEND_EVERY {
        manager.extend();
    }
    if !manager.unsent.is_empty() {
        manager.send("");
    }
}

/// How long this process may sleep until the next [`beat`].
#[must_use]
pub fn sleep_limit() -> Duration {
    let Some(manager) = manager() else { return Duration::MAX };
    let watchdog = manager.watchdog.map(|every| every.saturating_sub(manager.beaten_at.elapsed()));
    watchdog.unwrap_or(Duration::MAX)
}

fn manager() -> Option<MutexGuard<'static, Manager>> {
    Some(MANAGER.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Manager {
    fn of(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(name),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let now = Instant::now();
        Ok(Self {
            socket,
            address: address?,
            unsent: String::new(),
            is_ready: false,
            is_stopping: false,
            status: String::new(),
            status_at: now,
            watchdog: watchdog(),
            beaten_at: now,
            extended_at: now,
        })
    }

    fn notify(&mut self, line: String) {
        if line != self.status {
            self.status_at = Instant::now();
            self.send(&format!("STATUS={line}\n"));
            self.status = line;
        }
    }

    fn extend(&mut self) {
        self.extended_at = Instant::now();
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTEND_BY.as_micros()));
    }

    fn send(&mut self, assignments: &str) {
        if self.unsent.len() + assignments.len() > UNSENT_MAX {
            let matters = |line: &&str| line.starts_with("READY") || line.starts_with("STOPPING");
            self.unsent = self.unsent.split_inclusive('\n').filter(matters).collect();
        }
        self.unsent.push_str(assignments);
        let sent = self.socket.send_to_addr(self.unsent.as_bytes(), &self.address);
        // Only a full one will be read.
        if !sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.unsent.clear();
        }
    }
}

/// Half of the time after which the manager takes this process for hung, if it looks.
fn watchdog() -> Option<Duration> {
    let [time, pid] = WATCHDOG.map(env::var);
    let is_meant = pid.map_or(true, |pid| pid == std::process::id().to_string());
    let time = time.ok()?.parse().ok().filter(|&time| is_meant && time > 0)?;
    Some(Duration::from_micros(time) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It waited until there was room.
    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_and_finds_what_matters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let reader = UnixDatagram::bind(&path).unwrap();
        let mut manager = Manager::of(path.as_os_str()).unwrap();
        let mut sent = 0;
        while manager.unsent.is_empty() {
            manager.send("WATCHDOG=1\n");
            sent += 1;
        }
        manager.send("READY=1\n");
        for i in 0..1000 {
            manager.notify(format!("status {i}"));
        }
        assert!(manager.unsent.len() <= UNSENT_MAX);
        let mut buffer = [0; 4096];
        for _ in 1..sent {
            assert_eq!(reader.recv(&mut buffer).unwrap(), "WATCHDOG=1\n".len());
        }
        manager.send("");
        let len = reader.recv(&mut buffer).unwrap();
        let found = str::from_utf8(&buffer[..len]).unwrap();
        assert!(found.contains("READY=1\n") && found.ends_with("STATUS=status 999\n"), "{found}");
        drop(reader);
        std::fs::remove_file(&path).unwrap();
        manager.send("STOPPING=1\n");
        assert!(manager.unsent.is_empty(), "nobody misses it");
    }
}
