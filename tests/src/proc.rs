//! Processes, whoever has started them, as `proc(5)` shows them.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use common::program::process_stat::ProcessStat;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Stops a process with SIGSTOP and waits until it is stopped: until then it may go on for a moment,
/// and be handed a message that was sent after the signal. Returns whether it is stopped.
#[must_use]
pub fn stop(pid: i32) -> bool {
    let sent = kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok();
    // A signal is not held back for long, whatever the process does; one that ended has no state T.
    let start = Instant::now();
    while sent && start.elapsed() < Duration::from_secs(10) {
        match ProcessStat::of(Pid::from_raw(pid)).map(|stat| stat.state) {
            Some('T' | 't') => return true,
            None | Some('Z' | 'X') => return false,
            Some(_) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
    false
}

/// The same, at a moment when the process does not hold the lock on this log, so that others can go on.
#[must_use]
pub fn stop_outside_lock(pid: i32, log: &Path) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if !stop(pid) {
            return false;
        }
        // Unlocked, not only closed: a child that is being started has a copy of it for a moment.
        let free =
            File::open(log).map_or(true, |log| log.try_lock().is_ok() && log.unlock().is_ok());
        if free {
            return true;
        }
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// The most memory that a process has had resident so far, in bytes; 0 if it has ended.
#[must_use]
pub fn memory_peak(pid: i32) -> u64 {
    status_field(pid, "VmHWM:")
        .and_then(|size| size.strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes * 1024)
}

/// A field of a process's status, as `proc_pid_status(5)` names it, with a colon.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Every process that there is.
pub(crate) fn all() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Processes whose working directory is this one.
#[must_use]
pub fn processes(dir: &Path) -> Vec<i32> {
    // As the kernel names it.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let is_there =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir);
    all().filter(is_there).collect()
}

/// Sends a signal to all of them.
pub fn signal_all(dir: &Path, signal: Signal) {
    for pid in processes(dir) {
        // It may have ended since.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Which worker a process is that a load balancer has started, as its arguments tell; nothing if it is none.
#[must_use]
pub fn spawned_number(pid: i32) -> Option<u32> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = arguments.split(|&byte| byte == 0);
    // --spawned-by PID K, and what is to be done with messages.
    arguments.find(|argument| *argument == b"--spawned-by")?;
    std::str::from_utf8(arguments.nth(1)?).ok()?.parse().ok()
}

/// Whether a signal is in one of the sets of a process's status, as `SigCgt:`.
#[must_use]
pub fn is_in_set(pid: i32, set: &str, signal: Signal) -> bool {
    let mask = status_field(pid, set).and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}
