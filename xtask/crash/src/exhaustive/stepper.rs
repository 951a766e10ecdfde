//! Steps a program from system call to system call with ptrace(2), and kills it at one of them, or lets one
//! of them fail.
//!
//! A worker that the load balancer starts is stepped by following the load balancer's children, and a COMMAND by
//! following theirs.

mod call;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use nix::errno::Errno;
use nix::unistd::Pid;
use tests::ptrace::{self, End, Event};
use tests::spawned_number;

use super::made::Counts;
use super::steps::{Steps, Stop, Target};

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
        let mut program = ptrace::startable(command);
        stdio(&mut program)?;
        let (sender, steps) = mpsc::channel();
        let told = Arc::new(Told::default());
        let stepper = Stepper::new(target, stop, dir, Arc::clone(&told));
        std::thread::spawn(move || {
            // The receiver is gone only after a time limit, which was reported.
            let _ = sender.send(stepper.run(program));
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

struct Stepper {
    target: Target,
    stop: Stop,
    dir: PathBuf,
    /// The log, and the dead letters: writes to them may be cut short.
    files: [PathBuf; 2],
    told: Arc<Told>,
    /// The process that is stepped, once it exists.
    stepped: Option<Pid>,
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
            steps: Steps::default(),
            counts: Counts::default(),
            inside: false,
            is_log_write: false,
            is_shmget: false,
        }
    }

    fn run(mut self, mut program: Command) -> io::Result<Steps> {
        let root = ptrace::start(&mut program, ptrace::CHILDREN)?;
        self.told.root.store(root.as_raw(), Ordering::SeqCst);
        self.stepped = (self.target == Target::Itself).then_some(root);
        ptrace::resume(root, self.stepped.is_some(), None)?;
        loop {
            match ptrace::next(None) {
                Ok((pid, Event::Ended(end))) => self.ended(root, pid, end),
                Ok((pid, event)) => match self.stopped(pid, event) {
                    // Killed while it stood still, as a poisonous message does: the next wait tells.
                    Err(Errno::ESRCH) => {}
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

    fn ended(&mut self, root: Pid, pid: Pid, end: End) {
        if self.stepped == Some(pid) {
            self.steps.own_end = Some(end);
        }
        if let End::Code(code) = end
            && pid == root
        {
            self.steps.code = Some(code);
        }
    }

    fn stopped(&mut self, pid: Pid, event: Event) -> nix::Result<()> {
        let is_stepped = self.stepped == Some(pid);
        let killed = match event {
            Event::Entry(call) => self.at_entry(pid, &call)?,
            Event::Exit(result) => self.at_exit(pid, result)?,
            Event::Birth if is_stepped => self.at_birth(pid)?,
            Event::Exec if !self.follows(pid) => {
                ptrace::let_go(pid);
                return Ok(());
            }
            _ => false,
        };
        if killed {
            return Ok(());
        }
        ptrace::resume(pid, self.stepped == Some(pid), event.signal())
    }

    /// A child has become another program: stepped if it is the one, followed if it will start that, else let go.
    fn follows(&mut self, pid: Pid) -> bool {
        match (spawned_number(pid.as_raw()), self.target) {
            (Some(number), Target::ChildWorker(wanted)) => number == wanted && self.is_first(pid),
            (Some(number), Target::Handler(wanted)) => number == wanted,
            (None, Target::Handler(wanted)) => is_command_of(pid, wanted) && self.is_first(pid),
            _ => false,
        }
    }

    /// The first one is stepped from here on.
    fn is_first(&mut self, pid: Pid) -> bool {
        *self.stepped.get_or_insert(pid) == pid
    }
}

/// Whether it is a COMMAND of this worker, or something that one has started.
fn is_command_of(pid: Pid, worker: u32) -> bool {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("LB_WORKER={worker}");
    variables.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
}
