//! Runs programs under ptrace: counts the system calls of each process, or only stops it at its end
//! to read how much memory it had at most.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::Failure;
use super::job::Job;
use super::launch::as_role;
use super::{judge, launch};

/// `PTRACE_SYSCALL_INFO_ENTRY`.
const ENTRY: u8 = 1;

/// Arguments of the process that becomes a traced program.
#[derive(Debug, clap::Args)]
pub(super) struct Traced {
    program: OsString,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Traced {
    pub(super) fn run(&self) -> io::Result<()> {
        ptrace::traceme()?;
        Err(Command::new(&self.program).args(&self.args).exec())
    }
}

/// What was seen of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The program's name.
    pub(super) program: String,
    /// System calls since it became that program; 0 when they were not counted.
    pub(super) calls: u64,
    /// Most memory that was resident, in bytes (`VmHWM`).
    pub(super) peak_bytes: u64,
}

/// The same command, to be given to [`run`].
fn traceable(program: &Command) -> Command {
    let mut command = as_role("traced");
    command.arg(program.get_program()).args(program.get_args());
    if let Some(dir) = program.get_current_dir() {
        command.current_dir(dir);
    }
    command
}

/// Runs a job under ptrace, and judges its log.
pub(super) fn run_job(
    case: &Case,
    binaries: &Binaries,
    count_calls: bool,
) -> Result<Vec<Seen>, Failure> {
    let sandbox = Sandbox::new(binaries);
    let job = Job::wrapped(&sandbox, case, |command| traceable(&command))?;
    let seen = run(job.clients.into_iter().chain([job.balancer]), count_calls)?;
    judge::canonical(&sandbox.log_path(), case)?;
    Ok(seen)
}

/// Runs commands, all at once, to the end of all processes that come of them.
fn run(commands: impl Iterator<Item = Command>, count_calls: bool) -> Result<Vec<Seen>, Failure> {
    let mut tracees = Tracees { living: HashMap::new(), ended: Vec::new(), count_calls };
    for command in commands {
        tracees.start(command)?;
    }
    while !tracees.living.is_empty() {
        let status = wait(None)?;
        tracees.handle(status)?;
    }
    Ok(std::mem::take(&mut tracees.ended))
}

struct Tracees {
    living: HashMap<Pid, Seen>,
    ended: Vec<Seen>,
    count_calls: bool,
}

impl Tracees {
    fn start(&mut self, mut command: Command) -> Result<(), Failure> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(Failure::system("a traced program"))?;
        launch::watch(child.id());
        let pid = Pid::from_raw(child.id().cast_signed());
        self.living.insert(pid, Seen::default());
        // It stops once it has become the program.
        match wait(Some(pid))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            status => return Err(odd("the start of a traced program", &status)),
        }
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).map_err(Failure::system("ptrace"))?;
        self.begin_program(pid);
        self.resume(pid, None)
    }

    fn begin_program(&mut self, pid: Pid) {
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let program = program.trim_end().to_owned();
        self.living.insert(pid, Seen { program, ..Seen::default() });
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) -> Result<(), Failure> {
        let resumed =
            if self.count_calls { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
        match resumed {
            // Killed meanwhile: its end is reported next.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(Failure::system("ptrace")(error)),
        }
    }

    fn handle(&mut self, status: WaitStatus) -> Result<(), Failure> {
        match status {
            WaitStatus::PtraceSyscall(pid) => {
                if ptrace::syscall_info(pid).is_ok_and(|info| info.op == ENTRY)
                    && let Some(seen) = self.living.get_mut(&pid)
                {
                    seen.calls += 1;
                }
                self.resume(pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
                    self.begin_program(pid);
                } else if event == ptrace::Event::PTRACE_EVENT_EXIT as i32
                    && let Some(seen) = self.living.get_mut(&pid)
                {
                    seen.peak_bytes = tests::memory_peak(pid.as_raw());
                }
                self.resume(pid, None)
            }
            // A new process stops before its first instruction, and is traced from there on.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) if !self.living.contains_key(&pid) => {
                self.living.insert(pid, Seen::default());
                self.resume(pid, None)
            }
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            WaitStatus::Exited(pid, 0) => {
                self.ended.extend(self.living.remove(&pid));
                launch::unwatch(pid.as_raw().cast_unsigned());
                Ok(())
            }
            status => Err(odd("the end of a traced program", &status)),
        }
    }
}

/// What happens next to a traced process, or to this one.
fn wait(pid: Option<Pid>) -> Result<WaitStatus, Failure> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => Failure::if_interrupted()?,
            waited => return waited.map_err(Failure::system("waitpid")),
        }
    }
}

fn odd(what: &str, status: &WaitStatus) -> Failure {
    Failure::system(what)(io::Error::other(format!("{status:?}")))
}

impl Drop for Tracees {
    fn drop(&mut self) {
        for pid in self.living.keys() {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, Some(WaitPidFlag::__WALL));
            launch::unwatch(pid.as_raw().cast_unsigned());
        }
    }
}
