//! Which system calls can fail, and with what.
//!
//! From the ERRORS sections of section 2 of the manual, as far as the cause lies outside of the program: memory,
//! room, quotas, limits, locks, rights, signals, objects that are gone. What only a wrong argument gives is
//! left out, so that EINVAL is here only where it means that an object is gone, or that the system does not
//! have such a thing. Of several rows for one call the first that fits is meant.
//!
//! What says that an object is gone is not true, unless the call was to remove it: the object is there when
//! the process looks again.

use nix::errno::Errno::{
    self, EACCES, EAGAIN, EDQUOT, EIDRM, EINTR, EINVAL, EIO, EMFILE, ENODATA, ENOLCK, ENOMEM,
    ENOSPC, EOPNOTSUPP, EPERM, ESRCH,
};
use nix::libc;
use nix::unistd::Pid;

use ::tests::ptrace::{Call, pointed};
use Way::{Any, Has, Is, Unlocks};

/// How a call is made, as its arguments (from 0) tell.
#[derive(Clone, Copy, Debug)]
enum Way {
    Any,
    /// This argument holds this flag.
    Has(usize, i32),
    /// This argument is this.
    Is(usize, i32),
    /// Gives an open file description lock back.
    Unlocks,
}

/// A call, made in one way.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) number: i64,
    way: Way,
    pub(crate) errors: &'static [Errno],
}

const fn row(name: &'static str, number: i64, way: Way, errors: &'static [Errno]) -> Row {
    Row { name, number, way, errors }
}

/// As an int, as all flags here.
const GRND_NONBLOCK: i32 = libc::GRND_NONBLOCK.cast_signed();
const GRND_INSECURE: i32 = libc::GRND_INSECURE.cast_signed();

/// `O_TMPFILE` has this bit, and that of `O_DIRECTORY`.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// All of them.
#[rustfmt::skip] // a table
static TABLE: &[Row] = &[
    // Shared memory and message queues. Of a lookup, ENOMEM is what a security module may say.
    row("shmget", libc::SYS_shmget, Has(2, libc::IPC_CREAT), &[EACCES, EINVAL, ENOMEM, ENOSPC]),
    row("shmget", libc::SYS_shmget, Any, &[EACCES, ENOMEM]),
    row("shmat", libc::SYS_shmat, Any, &[EACCES, EIDRM, EINVAL, ENOMEM]),
    row("shmctl", libc::SYS_shmctl, Is(1, libc::IPC_RMID), &[EIDRM, EINVAL, EPERM]),
    row("shmctl", libc::SYS_shmctl, Any, &[EACCES, EIDRM, EINVAL]),
    row("shmdt", libc::SYS_shmdt, Any, &[]),
    row("msgget", libc::SYS_msgget, Has(1, libc::IPC_CREAT), &[EACCES, ENOMEM, ENOSPC]),
    row("msgget", libc::SYS_msgget, Any, &[EACCES, ENOMEM]),
    row("msgsnd", libc::SYS_msgsnd, Any, &[EACCES, EAGAIN, EIDRM, EINTR, EINVAL, ENOMEM]),
    row("msgrcv", libc::SYS_msgrcv, Any, &[EACCES, EIDRM, EINTR, EINVAL]),
    row("msgctl", libc::SYS_msgctl, Is(1, libc::IPC_RMID), &[EIDRM, EINVAL, EPERM]),
    row("msgctl", libc::SYS_msgctl, Any, &[EACCES, EIDRM, EINVAL]),
    // Locks.
    row("flock", libc::SYS_flock, Has(1, libc::LOCK_UN), &[ENOLCK]),
    row("flock", libc::SYS_flock, Has(1, libc::LOCK_NB), &[EAGAIN, EINTR, ENOLCK]),
    row("flock", libc::SYS_flock, Any, &[EINTR, ENOLCK]),
    row("fcntl", libc::SYS_fcntl, Unlocks, &[EINTR, ENOLCK]),
    row("fcntl", libc::SYS_fcntl, Is(1, libc::F_OFD_SETLK), &[EACCES, EAGAIN, EINTR, ENOLCK]),
    row("fcntl", libc::SYS_fcntl, Is(1, libc::F_OFD_SETLKW), &[EINTR, ENOLCK]),
    row("fcntl", libc::SYS_fcntl, Is(1, libc::F_OFD_GETLK), &[EINTR]),
    row("fcntl", libc::SYS_fcntl, Is(1, libc::F_DUPFD_CLOEXEC), &[EMFILE]),
    row("fcntl", libc::SYS_fcntl, Any, &[]),
    row("futex", libc::SYS_futex, Is(1, libc::FUTEX_WAIT), &[EAGAIN, EINTR]),
    row("futex", libc::SYS_futex, Any, &[]),
    // Files.
    row("openat", libc::SYS_openat, Has(2, libc::O_CREAT), &[EACCES, EDQUOT, EINTR, EMFILE, ENOMEM, ENOSPC]),
    row("openat", libc::SYS_openat, Has(2, TMPFILE), &[EACCES, EDQUOT, EINTR, EMFILE, ENOMEM, ENOSPC, EOPNOTSUPP]),
    row("openat", libc::SYS_openat, Any, &[EACCES, EINTR, EMFILE, ENOMEM]),
    row("close", libc::SYS_close, Any, &[EINTR, EIO]),
    row("read", libc::SYS_read, Any, &[EINTR, EIO]),
    row("pread64", libc::SYS_pread64, Any, &[EINTR, EIO]),
    row("write", libc::SYS_write, Any, &[EAGAIN, EDQUOT, EINTR, EIO, ENOSPC, EPERM]),
    row("pwrite64", libc::SYS_pwrite64, Any, &[EDQUOT, EINTR, EIO, ENOSPC, EPERM]),
    row("writev", libc::SYS_writev, Any, &[EAGAIN, EDQUOT, EINTR, EIO, ENOSPC, EPERM]),
    row("lseek", libc::SYS_lseek, Any, &[EINVAL]),
    row("ftruncate", libc::SYS_ftruncate, Any, &[EINTR, EIO, EPERM]),
    row("fsync", libc::SYS_fsync, Any, &[EDQUOT, EINTR, EIO, ENOSPC]),
    row("fdatasync", libc::SYS_fdatasync, Any, &[EDQUOT, EINTR, EIO, ENOSPC]),
    row("fchmod", libc::SYS_fchmod, Any, &[EIO, EPERM]),
    row("statx", libc::SYS_statx, Any, &[EACCES, ENOMEM]),
    row("newfstatat", libc::SYS_newfstatat, Any, &[EACCES, ENOMEM]),
    row("fstat", libc::SYS_fstat, Any, &[ENOMEM]),
    row("statfs", libc::SYS_statfs, Any, &[EACCES, EINTR, EIO, ENOMEM]),
    row("fstatfs", libc::SYS_fstatfs, Any, &[EINTR, EIO, ENOMEM]),
    row("getcwd", libc::SYS_getcwd, Any, &[EACCES, ENOMEM]),
    row("readlinkat", libc::SYS_readlinkat, Any, &[EACCES, EIO, ENOMEM]),
    row("linkat", libc::SYS_linkat, Any, &[EACCES, EDQUOT, EIO, ENOMEM, ENOSPC, EPERM]),
    row("unlinkat", libc::SYS_unlinkat, Any, &[EACCES, EIO, ENOMEM, EPERM]),
    row("renameat2", libc::SYS_renameat2, Any, &[EACCES, EDQUOT, ENOMEM, ENOSPC, EPERM]),
    row("fgetxattr", libc::SYS_fgetxattr, Any, &[EACCES, EIO, ENODATA, ENOMEM, EOPNOTSUPP]),
    row("fsetxattr", libc::SYS_fsetxattr, Any, &[EACCES, EDQUOT, EIO, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM]),
    row("faccessat", libc::SYS_faccessat, Any, &[EACCES, EIO, ENOMEM]),
    row("faccessat2", libc::SYS_faccessat2, Any, &[EACCES, EIO, ENOMEM]),
    row("getdents64", libc::SYS_getdents64, Any, &[]),
    row("ioctl", libc::SYS_ioctl, Any, &[]),
    // Waiting for several things.
    row("ppoll", libc::SYS_ppoll, Any, &[EINTR, ENOMEM]),
    row("epoll_create1", libc::SYS_epoll_create1, Any, &[EMFILE, ENOMEM]),
    row("epoll_ctl", libc::SYS_epoll_ctl, Any, &[ENOMEM, ENOSPC, EPERM]),
    row("epoll_pwait", libc::SYS_epoll_pwait, Any, &[EINTR]),
    row("inotify_init1", libc::SYS_inotify_init1, Any, &[EMFILE, ENOMEM]),
    row("inotify_add_watch", libc::SYS_inotify_add_watch, Any, &[EACCES, ENOMEM, ENOSPC]),
    row("inotify_rm_watch", libc::SYS_inotify_rm_watch, Any, &[EINVAL]),
    row("signalfd4", libc::SYS_signalfd4, Any, &[EMFILE, ENOMEM]),
    row("timerfd_create", libc::SYS_timerfd_create, Any, &[EMFILE, ENOMEM]),
    row("timerfd_settime", libc::SYS_timerfd_settime, Any, &[]),
    row("eventfd2", libc::SYS_eventfd2, Any, &[EMFILE, ENOMEM]),
    row("clock_nanosleep", libc::SYS_clock_nanosleep, Any, &[EINTR]),
    row("nanosleep", libc::SYS_nanosleep, Any, &[EINTR]),
    // Processes and signals.
    row("clone", libc::SYS_clone, Any, &[EAGAIN, ENOMEM, EPERM]),
    row("clone3", libc::SYS_clone3, Any, &[EAGAIN, ENOMEM, EPERM]),
    row("wait4", libc::SYS_wait4, Has(2, libc::WNOHANG), &[]),
    row("wait4", libc::SYS_wait4, Any, &[EINTR]),
    row("waitid", libc::SYS_waitid, Has(3, libc::WNOHANG), &[]),
    row("waitid", libc::SYS_waitid, Any, &[EINTR]),
    row("kill", libc::SYS_kill, Any, &[EPERM]),
    row("getpgid", libc::SYS_getpgid, Any, &[EPERM, ESRCH]),
    row("pidfd_open", libc::SYS_pidfd_open, Any, &[EMFILE, ENOMEM]),
    row("pidfd_send_signal", libc::SYS_pidfd_send_signal, Any, &[EPERM]),
    row("prctl", libc::SYS_prctl, Any, &[EINVAL]),
    row("prlimit64", libc::SYS_prlimit64, Any, &[EPERM]),
    row("rt_sigaction", libc::SYS_rt_sigaction, Any, &[]),
    row("rt_sigprocmask", libc::SYS_rt_sigprocmask, Any, &[]),
    row("sigaltstack", libc::SYS_sigaltstack, Any, &[]),
    row("setitimer", libc::SYS_setitimer, Any, &[]),
    row("setpgid", libc::SYS_setpgid, Any, &[EACCES, EPERM]),
    // Descriptors and sockets.
    row("dup3", libc::SYS_dup3, Any, &[EINTR, EMFILE]),
    row("pipe2", libc::SYS_pipe2, Any, &[EMFILE]),
    row("socket", libc::SYS_socket, Any, &[EACCES, EMFILE, ENOMEM]),
    row("connect", libc::SYS_connect, Any, &[EACCES, EAGAIN, EINTR, EPERM]),
    row("sendto", libc::SYS_sendto, Any, &[EACCES, EAGAIN, EINTR, ENOMEM]),
    row("sendmsg", libc::SYS_sendmsg, Any, &[EACCES, EAGAIN, EINTR, ENOMEM]),
    // Memory and chance. brk(2) is left out: it does not fail as other calls do.
    row("mmap", libc::SYS_mmap, Any, &[ENOMEM]),
    row("munmap", libc::SYS_munmap, Any, &[ENOMEM]),
    row("mremap", libc::SYS_mremap, Any, &[ENOMEM]),
    row("mprotect", libc::SYS_mprotect, Any, &[ENOMEM]),
    row("madvise", libc::SYS_madvise, Any, &[EAGAIN, ENOMEM]),
    row("brk", libc::SYS_brk, Any, &[]),
    row("getrandom", libc::SYS_getrandom, Has(2, GRND_NONBLOCK), &[EAGAIN]),
    row("getrandom", libc::SYS_getrandom, Has(2, GRND_INSECURE), &[]),
    row("getrandom", libc::SYS_getrandom, Any, &[EINTR]),
    // These never fail, or never return.
    row("sched_yield", libc::SYS_sched_yield, Any, &[]),
    row("sched_getaffinity", libc::SYS_sched_getaffinity, Any, &[]),
    row("getpid", libc::SYS_getpid, Any, &[]),
    row("getppid", libc::SYS_getppid, Any, &[]),
    row("gettid", libc::SYS_gettid, Any, &[]),
    row("geteuid", libc::SYS_geteuid, Any, &[]),
    row("rt_sigreturn", libc::SYS_rt_sigreturn, Any, &[]),
    row("restart_syscall", libc::SYS_restart_syscall, Any, &[]),
    row("exit_group", libc::SYS_exit_group, Any, &[]),
];

/// Calls that only this machine has; others make the ones above instead.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
static OLDER: &[Row] = &[
    row("readlink", libc::SYS_readlink, Any, &[EACCES, EIO, ENOMEM]),
    row("link", libc::SYS_link, Any, &[EACCES, EDQUOT, EIO, ENOMEM, ENOSPC, EPERM]),
    row("unlink", libc::SYS_unlink, Any, &[EACCES, EIO, ENOMEM, EPERM]),
    row("rename", libc::SYS_rename, Any, &[EACCES, EDQUOT, ENOMEM, ENOSPC, EPERM]),
    row("access", libc::SYS_access, Any, &[EACCES, EIO, ENOMEM]),
    row("poll", libc::SYS_poll, Any, &[EINTR, ENOMEM]),
    row("epoll_wait", libc::SYS_epoll_wait, Any, &[EINTR]),
    row("dup2", libc::SYS_dup2, Any, &[EINTR]),
    row("vfork", libc::SYS_vfork, Any, &[EAGAIN, ENOMEM]),
    row("alarm", libc::SYS_alarm, Any, &[]),
];

/// See above.
#[cfg(not(target_arch = "x86_64"))]
static OLDER: &[Row] = &[];

impl Way {
    fn is_way_of(self, pid: Pid, call: &Call) -> bool {
        // The kernel, too, looks only at the lower half of an int.
        let is = |argument: usize, value: i32| call.arguments[argument] as i32 == value;
        match self {
            Any => true,
            Has(argument, flag) => call.arguments[argument] as i32 & flag != 0,
            Is(argument, value) => is(argument, value),
            Unlocks => {
                is(1, libc::F_OFD_SETLK)
                    && pointed(pid, call.arguments[2])
                        .is_ok_and(|word| word as i16 == libc::F_UNLCK as i16)
            }
        }
    }
}

/// Every row.
fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().chain(OLDER)
}

/// The row of a call that a process has entered.
pub(crate) fn row_of(pid: Pid, call: &Call) -> Option<&'static Row> {
    rows().find(|row| row.number == call.number && row.way.is_way_of(pid, call))
}

/// Whether what a call was to do is done although it fails: a descriptor is closed in any case (`close(2)`),
/// and an object that another one has just removed is gone.
pub(crate) fn is_done_anyway(call: &Call, error: Errno) -> bool {
    match call.number {
        libc::SYS_close => true,
        libc::SYS_shmctl | libc::SYS_msgctl => {
            call.arguments[1] as i32 == libc::IPC_RMID && matches!(error, EIDRM | EINVAL)
        }
        _ => false,
    }
}

/// The number of a call, by name.
pub(crate) fn number_of(name: &str) -> Option<i64> {
    rows().find(|row| row.name == name).map(|row| row.number)
}

/// Its name.
pub(crate) fn name_of(number: i64) -> Option<&'static str> {
    rows().find(|row| row.number == number).map(|row| row.name)
}

/// An error, by name.
pub(crate) fn error_of(name: &str) -> Option<Errno> {
    errors().find(|error| format!("{error:?}") == name)
}

/// Whether a call can fail so, made in any way.
pub(crate) fn can_fail(number: i64, error: Errno) -> bool {
    rows().any(|row| row.number == number && row.errors.contains(&error))
}

/// All errors that a call can fail with.
fn errors() -> impl Iterator<Item = Errno> {
    rows().flat_map(|row| row.errors).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(number: i64, arguments: [u64; 4]) -> Option<&'static [Errno]> {
        row_of(Pid::from_raw(0), &Call { number, arguments }).map(|row| row.errors)
    }

    #[test]
    fn the_way_of_a_call_tells_its_errors() {
        let create = (libc::IPC_CREAT | libc::IPC_EXCL | 0o600) as u64;
        assert!(errors_of(libc::SYS_shmget, [1, 100, create, 0]).unwrap().contains(&ENOSPC));
        assert!(!errors_of(libc::SYS_shmget, [1, 0, 0, 0]).unwrap().contains(&ENOSPC));
        let remove = libc::IPC_RMID as u64;
        assert_eq!(
            errors_of(libc::SYS_shmctl, [1, remove, 0, 0]),
            Some(&[EIDRM, EINVAL, EPERM][..])
        );
        assert_eq!(errors_of(libc::SYS_wait4, [1, 0, libc::WNOHANG as u64, 0]), Some(&[][..]));
        assert_eq!(errors_of(-1, [0; 4]), None);
    }

    #[test]
    fn each_row_can_be_reached() {
        for (i, row) in rows().enumerate() {
            let hidden = rows()
                .take(i)
                .any(|earlier| earlier.number == row.number && matches!(earlier.way, Any));
            assert!(!hidden, "{} is in a row before", row.name);
            assert_eq!(name_of(row.number), Some(row.name));
            assert_eq!(number_of(row.name), Some(row.number));
        }
    }
}
