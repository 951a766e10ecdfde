//! Steps a program from system call to system call with ptrace(2), and kills it at one of them.
//!
//! The program is not changed in any way. It is started by this program, called again with the hidden
//! option `--traced`, which asks to be traced and becomes the other program. A worker that the load
//! balancer starts is stepped by following the load balancer's children.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::point::{At, Moment};
use super::registers;
use super::steps::{Steps, Stop, Struck, Target};
use super::successor;
use crate::crash::witness;

/// A program that is being stepped, by a thread of its own (only the thread that traces may).
pub(crate) struct Stepped {
    steps: Receiver<io::Result<Steps>>,
    root: Arc<AtomicI32>,
}

impl Stepped {
    /// Starts it. `command` is the program itself; `stdio` sets where it reads and writes.
    pub(crate) fn start(
        command: &Command,
        stdio: impl FnOnce(&mut Command) -> io::Result<()>,
        target: Target,
        stop: Stop,
        dir: &Path,
    ) -> io::Result<Self> {
        let mut shim = crate::this_program();
        shim.args(["crash", "--traced", "--"]).arg(command.get_program()).args(command.get_args());
        shim.current_dir(dir);
        stdio(&mut shim)?;
        let (sender, steps) = mpsc::channel();
        let root = Arc::new(AtomicI32::new(0));
        let stepper = Stepper::new(target, stop, dir);
        let told = Arc::clone(&root);
        std::thread::spawn(move || {
            // The receiver is gone only after a time limit, which was reported.
            let _ = sender.send(stepper.run(shim, &told));
        });
        Ok(Self { steps, root })
    }

    /// The result, once the program has ended.
    pub(crate) fn try_wait(&self) -> Option<io::Result<Steps>> {
        match self.steps.try_recv() {
            Ok(steps) => Some(steps),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::Error::other("the stepper panicked"))),
        }
    }

    /// Its process id, or nothing before it is started and after its end.
    pub(crate) fn pid(&self) -> Option<Pid> {
        Some(self.root.load(Ordering::SeqCst)).filter(|&pid| pid > 0).map(Pid::from_raw)
    }
}

/// What `xtask crash --traced -- PROGRAM ARGS…` does: returns only if it cannot become the program.
pub(crate) fn become_traced(program: &[std::ffi::OsString]) -> io::Error {
    let Some((program, args)) = program.split_first() else {
        return io::Error::other("no program");
    };
    if let Err(error) = ptrace::traceme() {
        return error.into();
    }
    Command::new(program).args(args).exec()
}

struct Stepper {
    target: Target,
    stop: Stop,
    dir: PathBuf,
    log: PathBuf,
    /// The process that is stepped, once it exists.
    stepped: Option<Pid>,
    /// Traced processes that have stopped once.
    known: HashSet<Pid>,
    steps: Steps,
    /// The call that the stepped process is in is the one to be killed in.
    inside: bool,
    is_log_write: bool,
}

impl Stepper {
    fn new(target: Target, stop: Stop, dir: &Path) -> Self {
        // As the kernel names it.
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        Self {
            target,
            stop,
            log: dir.join(common::instance::LOG_NAME),
            dir,
            stepped: None,
            known: HashSet::new(),
            steps: Steps::default(),
            inside: false,
            is_log_write: false,
        }
    }

    fn run(mut self, mut shim: Command, told: &AtomicI32) -> io::Result<Steps> {
        let child = shim.spawn()?;
        let root = Pid::from_raw(child.id().cast_signed());
        told.store(root.as_raw(), Ordering::SeqCst);
        match waitpid(root, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            other => return Err(io::Error::other(format!("the program did not start: {other:?}"))),
        }
        let mut options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        if matches!(self.target, Target::ChildWorker(_)) {
            options |= Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACEVFORK
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACEEXEC;
        } else {
            self.stepped = Some(root);
        }
        ptrace::setoptions(root, options)?;
        self.known.insert(root);
        self.resume(root, None);
        loop {
            // Of this thread's children only: other threads trace too.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == root => self.steps.code = Some(code),
                Ok(status) => self.stopped(status)?,
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => break,
                Err(error) => return Err(error.into()),
            }
        }
        told.store(0, Ordering::SeqCst);
        Ok(self.steps)
    }

    /// Lets a process run on: to its next system call if it is the stepped one.
    fn resume(&self, pid: Pid, signal: Option<Signal>) {
        let resumed = if self.stepped == Some(pid) {
            ptrace::syscall(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        };
        // It fails only if the process was killed meanwhile, which the next wait tells.
        let _ = resumed;
    }

    fn stopped(&mut self, status: WaitStatus) -> io::Result<()> {
        match status {
            WaitStatus::PtraceSyscall(pid) => {
                let killed = self.stepped == Some(pid) && self.at_call(pid)?;
                if !killed {
                    self.resume(pid, None);
                }
            }
            WaitStatus::PtraceEvent(pid, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                self.at_exec(pid);
            }
            // A new child's first stop.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) if self.known.insert(pid) => {
                self.resume(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, ..) => self.resume(pid, None),
            _ => {}
        }
        Ok(())
    }

    /// A child has become a worker: stepped if it is the one, else let go.
    fn at_exec(&mut self, pid: Pid) {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let last = arguments.split(|&byte| byte == 0).rev().find(|part| !part.is_empty());
        let number = last.and_then(|last| std::str::from_utf8(last).ok()?.parse().ok());
        let wanted = number.map(Target::ChildWorker) == Some(self.target);
        if wanted && self.stepped.is_none() {
            self.stepped = Some(pid);
            self.resume(pid, None);
        } else {
            let _ = ptrace::detach(pid, None);
        }
    }

    /// At the entry or the exit of a call. Returns whether the process was killed there.
    fn at_call(&mut self, pid: Pid) -> io::Result<bool> {
        let Ok(info) = ptrace::syscall_info(pid) else { return Ok(false) };
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            return self.at_entry(pid);
        }
        if self.inside && matches!(self.stop.at, Some((_, Moment::Outlive))) {
            self.inside = false;
            self.steps.outlived = true;
            successor::replace_balancer(&self.dir, pid);
            return Ok(false);
        }
        if self.inside {
            self.strike(pid, matches!(self.stop.at, Some((_, Moment::Torn(_)))));
            return Ok(true);
        }
        if self.stop.at.is_none() && self.steps.opened_at.is_none() {
            let opened = registers::result(pid)?;
            let link = std::fs::read_link(format!("/proc/{pid}/fd/{opened}"));
            if link.is_ok_and(|link| link == self.dir) {
                self.steps.opened_at = Some(self.steps.calls);
            }
        }
        Ok(false)
    }

    fn at_entry(&mut self, pid: Pid) -> io::Result<bool> {
        let call = registers::call(pid)?;
        self.is_log_write = writes_to(pid, &call, &self.log);
        self.steps.calls += 1;
        self.steps.writes += u32::from(self.is_log_write);
        let Some((at, moment)) = self.stop.at else { return Ok(false) };
        let here = match at {
            At::Call(n) => n == self.steps.calls,
            At::Write(n) => self.is_log_write && n == self.steps.writes,
        };
        if !here || self.steps.struck.is_some() || self.steps.outlived {
            return Ok(false);
        }
        match moment {
            Moment::Entry => {
                self.strike(pid, false);
                return Ok(true);
            }
            Moment::Exit | Moment::Outlive => self.inside = true,
            Moment::Torn(part) if self.is_log_write && call.arguments[2] > 1 => {
                registers::set_third_argument(pid, part.of(call.arguments[2]))?;
                self.inside = true;
            }
            Moment::Torn(_) => {} // nothing to tear: not reached
        }
        Ok(false)
    }

    fn strike(&mut self, pid: Pid, torn: bool) {
        // Looked at while it stands still: afterwards others may complete what it leaves.
        let pending = witness::is_inside_transaction(&self.dir, pid);
        self.steps.struck = Some(Struck { pending, torn });
        self.inside = false;
        if self.stop.with_everyone {
            witness::kill_others(&self.dir, Some(pid));
        }
        // It may be dead already, with the load balancer that started it.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Whether a call writes to this file. A vectored write would need another way to be cut short, and
/// the product has none: a run in which no write was seen fails as blind.
fn writes_to(pid: Pid, call: &registers::Call, file: &Path) -> bool {
    matches!(call.number, libc::SYS_write | libc::SYS_pwrite64)
        && std::fs::read_link(format!("/proc/{pid}/fd/{}", call.arguments[0]))
            .is_ok_and(|link| link == file)
}
