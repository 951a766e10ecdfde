//! A process, as `proc_pid_stat(5)` shows it.

use nix::unistd::Pid;

/// So many fields are between that of the process group and that of the start.
const BETWEEN_GROUP_AND_START: usize = 16;

/// What of it matters to us.
#[derive(Clone, Copy, Debug)]
pub struct ProcessStat {
    /// T is stopped by a signal, t by a tracer; Z and X are dead.
    pub state: char,
    /// Its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// When it was started, in clock ticks since the system was: no other process with its number has that.
    pub started: u64,
}

impl ProcessStat {
    /// Nothing if there is no such process.
    #[must_use]
    pub fn of(pid: Pid) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which is in parentheses, and may hold some itself.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        let mut pid = || fields.next()?.parse().ok().map(Pid::from_raw);
        let (parent, group) = (pid()?, pid()?);
        let started = fields.nth(BETWEEN_GROUP_AND_START)?.parse().ok()?;
        Some(Self { state, parent, group, started })
    }

    /// Whether it has ended, and only was not waited for.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}
