//! Steps a program from system call to system call with ptrace(2), and kills it at one of them, or lets one
//! of them fail.
//!
//! The program is not changed in any way. It is started by this program, called again with the hidden
//! option `--traced`, which asks to be traced and becomes the other program. A worker that the load
//! balancer starts is stepped by following the load balancer's children, and a COMMAND by following theirs.

mod call;

use std::collections::HashSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::made::Counts;
use super::steps::{OwnEnd, Steps, Stop, Target};

/// A program that is being stepped, by a thread of its own (only the thread that traces may).
pub(crate) struct Stepped {
    steps: Receiver<io::Result<Steps>>,
    told: Arc<Told>,
}

/// What its thread tells meanwhile.
#[derive(Debug, Default)]
struct Told {
    /// Process id of the program that was started; 0 before and after.
    root: AtomicI32,
    /// After a call of it failed, the stepped process made a ledger beside one that was there.
    made_second_ledger: AtomicBool,
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
        let mut shim = tests::this_program();
        shim.args(["--traced", "--"]).arg(command.get_program()).args(command.get_args());
        shim.current_dir(dir);
        stdio(&mut shim)?;
        let (sender, steps) = mpsc::channel();
        let told = Arc::new(Told::default());
        let stepper = Stepper::new(target, stop, dir, Arc::clone(&told));
        std::thread::spawn(move || {
            // The receiver is gone only after a time limit, which was reported.
            let _ = sender.send(stepper.run(shim));
        });
        Ok(Self { steps, told })
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
        Some(self.told.root.load(Ordering::SeqCst)).filter(|&pid| pid > 0).map(Pid::from_raw)
    }

    /// After a call of it failed, it made a ledger beside one that was there.
    pub(crate) fn made_second_ledger(&self) -> bool {
        self.told.made_second_ledger.load(Ordering::SeqCst)
    }
}

/// What `crash --traced -- PROGRAM ARGS…` does: returns only if it cannot become the program.
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
    /// The log, and the dead letters: writes to them may be cut short.
    files: [PathBuf; 2],
    told: Arc<Told>,
    /// The process that is stepped, once it exists.
    stepped: Option<Pid>,
    /// Traced processes that have stopped once.
    known: HashSet<Pid>,
    steps: Steps,
    counts: Counts,
    /// The call that the stepped process is in is the one to be struck in.
    inside: bool,
    is_log_write: bool,
    /// … and may have made a segment.
    is_shmget: bool,
}

impl Stepper {
    fn new(target: Target, stop: Stop, dir: &Path, told: Arc<Told>) -> Self {
        // As the kernel names it.
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        Self {
            target,
            stop,
            files: [common::grammar::LOG_NAME, common::dead::NAME].map(|name| dir.join(name)),
            dir,
            told,
            stepped: None,
            known: HashSet::new(),
            steps: Steps::default(),
            counts: Counts::default(),
            inside: false,
            is_log_write: false,
            is_shmget: false,
        }
    }

    fn run(mut self, mut shim: Command) -> io::Result<Steps> {
        let child = shim.spawn()?;
        let root = Pid::from_raw(child.id().cast_signed());
        self.told.root.store(root.as_raw(), Ordering::SeqCst);
        let first_stop = loop {
            match waitpid(root, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if !matches!(first_stop, WaitStatus::Stopped(_, Signal::SIGTRAP)) {
            return Err(io::Error::other(format!("the program did not start: {first_stop:?}")));
        }
        // A child is traced from its beginning, with the same options, up to its exec.
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_EXITKILL
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        self.stepped = (self.target == Target::Itself).then_some(root);
        ptrace::setoptions(root, options)?;
        self.known.insert(root);
        self.resume(root, None);
        loop {
            // Of this thread's children only: other threads trace too.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(root, pid, OwnEnd::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(root, pid, OwnEnd::Signal(signal));
                }
                Ok(status) => match self.stopped(status) {
                    // Killed while it stood still, as a poisonous message does: the next wait tells.
                    Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
                    stopped => stopped?,
                },
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.told.root.store(0, Ordering::SeqCst);
        Ok(self.steps)
    }

    fn ended(&mut self, root: Pid, pid: Pid, end: OwnEnd) {
        if self.stepped == Some(pid) {
            self.steps.own_end = Some(end);
        }
        if let OwnEnd::Code(code) = end
            && pid == root
        {
            self.steps.code = Some(code);
        }
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
            // It has a child now, which has not become another program yet.
            WaitStatus::PtraceEvent(pid, ..) => {
                let killed = self.stepped == Some(pid) && self.at_birth(pid)?;
                if !killed {
                    self.resume(pid, None);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A child has become another program: stepped if it is the one, followed if it will start that, else let go.
    fn at_exec(&mut self, pid: Pid) {
        let is_followed = match (worker_number(pid), self.target) {
            (Some(number), Target::ChildWorker(wanted)) => number == wanted && self.is_first(pid),
            (Some(number), Target::Handler(wanted)) => number == wanted,
            (None, Target::Handler(wanted)) => is_command_of(pid, wanted) && self.is_first(pid),
            _ => false,
        };
        if is_followed {
            self.resume(pid, None);
        } else {
            let _ = ptrace::detach(pid, None);
        }
    }

    /// The first one is stepped from here on.
    fn is_first(&mut self, pid: Pid) -> bool {
        *self.stepped.get_or_insert(pid) == pid
    }
}

/// The number of a worker that a load balancer has started, as its arguments tell; nothing if it is none.
fn worker_number(pid: Pid) -> Option<u32> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = arguments.split(|&byte| byte == 0);
    arguments.find(|argument| *argument == b"--spawned-by")?;
    std::str::from_utf8(arguments.nth(1)?).ok()?.parse().ok()
}

/// Whether it is a COMMAND of this worker, or something that one has started.
fn is_command_of(pid: Pid, worker: u32) -> bool {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("LB_WORKER={worker}");
    variables.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
}
