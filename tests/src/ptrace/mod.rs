//! ptrace(2): programs that a thread sees at each of their stops, and lets go on. What a stop means is its own
//! business. A program is not changed in any way; only the thread that has started it, or attached to it, may trace it.

mod registers;

use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event as Kind, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::temp_dir::unless_ending;

pub use registers::{Call, pointed, set_result, set_third_argument, skip_call};

/// An option of [`start`]: a child is traced from its beginning, with the same options.
pub const CHILDREN: Options = Options::PTRACE_O_TRACEFORK
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACECLONE);

/// Who is traced dies with the thread that traces.
const ALWAYS: Options = Options::PTRACE_O_TRACESYSGOOD
    .union(Options::PTRACE_O_TRACEEXEC)
    .union(Options::PTRACE_O_EXITKILL);

/// Why a process is stopped, or that it has ended.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It has entered a call.
    Entry(Call),
    /// It leaves a call, which came to this.
    Exit(i64),
    /// It has become another program.
    Exec,
    /// It is inside a call that has made a child, which has not become another program yet.
    Birth,
    /// It is about to end, and all that it has is still there. (With `PTRACE_O_TRACEEXIT`.)
    Exiting,
    /// A signal has come for it.
    Signal(Signal),
    /// A new child's first stop, or what SIGSTOP would hold.
    Pause,
    /// It has ended, and is waited for.
    Ended(End),
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(Signal),
}

impl Event {
    /// What is to be passed on to the process.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        if let Self::Signal(signal) = self { Some(signal) } else { None }
    }
}

/// A command that can be given to [`start`]; where it reads and writes is still to be set.
#[must_use]
pub fn startable(program: &Command) -> Command {
    // A shell that stops before it becomes the program: this is when it can be seized.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]);
    shell.arg(program.get_program()).args(program.get_args());
    if let Some(dir) = program.get_current_dir() {
        shell.current_dir(dir);
    }
    shell
}

/// Starts a program, and returns once the shell has become it.
pub fn start(startable: &mut Command, more: Options) -> io::Result<Pid> {
    let live = unless_ending();
    let mut shell = startable.spawn()?;
    drop(live);
    let pid = Pid::from_raw(shell.id().cast_signed());
    let started = seize_at_exec(pid, ALWAYS | more);
    if started.is_err() {
        let _ = shell.kill();
        let _ = shell.wait();
    }
    started.map(|()| pid)
}

fn seize_at_exec(pid: Pid, options: Options) -> io::Result<()> {
    let status = loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            Err(Errno::EINTR) => {}
            status => break status?,
        }
    };
    if !matches!(status, WaitStatus::Stopped(_, Signal::SIGSTOP)) {
        return Err(io::Error::other(format!("the program did not start: {status:?}")));
    }
    ptrace::seize(pid, options)?;
    kill(pid, Signal::SIGCONT)?;
    loop {
        match next(Some(pid)) {
            Ok((_, Event::Exec)) => return Ok(()),
            Ok((_, Event::Ended(end))) => {
                return Err(io::Error::other(format!("the program did not start: {end:?}")));
            }
            Ok((_, event)) => resume(pid, false, event.signal())?,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Stops a program that is running, so that nothing it does from now on is missed.
pub fn attach(pid: Pid) -> nix::Result<()> {
    ptrace::seize(pid, ALWAYS)?;
    ptrace::interrupt(pid)?;
    next(Some(pid)).map(drop)
}

/// Waits for the next stop or end of this process, or of any that this thread traces; ECHILD if there is none any
/// more. EINTR, since a caller may want to look what signal that was.
pub fn next(of: Option<Pid>) -> nix::Result<(Pid, Event)> {
    // Of this thread's children only: other threads trace too.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        return Ok(match waitpid(of, Some(flags))? {
            WaitStatus::PtraceSyscall(pid) => match at_call(pid) {
                // Killed while it stood still: its end comes next.
                Err(Errno::ESRCH) => continue,
                event => (pid, event?),
            },
            WaitStatus::PtraceEvent(pid, _, kind) => (pid, of_kind(kind)),
            WaitStatus::Stopped(pid, signal) => (pid, Event::Signal(signal)),
            WaitStatus::Exited(pid, code) => (pid, Event::Ended(End::Code(code))),
            WaitStatus::Signaled(pid, signal, _) => (pid, Event::Ended(End::Signal(signal))),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => continue,
        });
    }
}

fn at_call(pid: Pid) -> nix::Result<Event> {
    if ptrace::syscall_info(pid)?.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
        registers::call(pid).map(Event::Entry)
    } else {
        registers::result(pid).map(Event::Exit)
    }
}

fn of_kind(kind: i32) -> Event {
    const BIRTHS: [Kind; 3] =
        [Kind::PTRACE_EVENT_FORK, Kind::PTRACE_EVENT_VFORK, Kind::PTRACE_EVENT_CLONE];
    match kind {
        _ if kind == Kind::PTRACE_EVENT_EXEC as i32 => Event::Exec,
        _ if kind == Kind::PTRACE_EVENT_EXIT as i32 => Event::Exiting,
        _ if BIRTHS.iter().any(|&birth| birth as i32 == kind) => Event::Birth,
        _ => Event::Pause,
    }
}

/// Lets a process run on, to its next call or as far as it goes. One that was killed meanwhile is none: its end
/// comes next.
pub fn resume(pid: Pid, to_next_call: bool, signal: Option<Signal>) -> nix::Result<()> {
    let resume = if to_next_call { ptrace::syscall } else { ptrace::cont };
    match resume(pid, signal) {
        Err(Errno::ESRCH) => Ok(()),
        resumed => resumed,
    }
}

/// Lets a process go: nobody traces it any more, nor what it starts.
pub fn let_go(pid: Pid) {
    // Likewise.
    let _ = ptrace::detach(pid, None);
}
