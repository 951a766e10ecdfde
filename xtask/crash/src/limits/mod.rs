//! `cargo xtask crash --limits`: what the system refuses. Full disks, file size limits, no descriptors, no
//! processes, no IPC objects, storms of signals, workers that are stopped or die. Each must end in a
//! clear error or in the right log, and never in a hole or half a line.

mod descriptors;
mod durable;
mod file_size;
mod full_disk;
mod ipc_objects;
mod limited;
mod namespaces;
mod overlay;
mod processes;
mod storm;
mod workers;

use std::thread;
use std::time::{Duration, Instant};

use tests::{Binaries, Sandbox};

/// The system's limits.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Refuse room, descriptors, processes and IPC objects; storm with signals; stop workers.
    #[arg(long)]
    pub(crate) limits: bool,
    /// How long the storm of signals lasts.
    #[arg(long, value_name = "TIME", requires = "limits", default_value = "30s", value_parser = humantime::parse_duration)]
    storm_for: Duration,
    /// Only the checks with this in their name.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "limits",
        default_value = "",
        hide_default_value = true
    )]
    check: String,
}

/// Why a check has not passed.
enum Failure {
    /// Something was wrong.
    Violation(String),
    /// What it needs that is not here.
    NotRun(String),
}

impl<T: Into<String>> From<T> for Failure {
    fn from(what: T) -> Self {
        Self::Violation(what.into())
    }
}

/// What a check works with.
struct Setting<'a> {
    binaries: &'a Binaries,
    storm_for: Duration,
}

impl Setting<'_> {
    fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.binaries)
    }
}

type Check = fn(&Setting<'_>) -> Result<String, Failure>;

const CHECKS: [(&str, Check); 16] = [
    ("file size limit at every byte: client", file_size::client),
    ("file size limit at every byte: balancer and its workers", file_size::balancer),
    ("file size limit at every byte: a worker by hand", file_size::worker),
    ("full disk at 20 sizes: client", full_disk::client),
    ("full disk at 20 sizes: balancer and workers", full_disk::balancer),
    ("a directory of an overlay's lower layer", overlay::lower_directory),
    ("no file descriptors", descriptors::all_programs),
    ("no processes", processes::balancer),
    ("no message queues, then none missing", ipc_objects::queues),
    ("no shared memory segments", ipc_objects::segments),
    ("small message queues and messages", ipc_objects::small),
    ("a stopped worker", workers::stopped),
    ("a worker that always dies at its start", workers::dying),
    ("storm of signals", storm::storm),
    ("durable: order of system calls", durable::order),
    ("durable: cost", durable::cost),
];

pub(crate) fn run(args: &Args, programs: &Binaries) -> Result<bool, String> {
    let setting = Setting { binaries: programs, storm_for: args.storm_for };
    let mut passed = true;
    let checks: Vec<_> = CHECKS.iter().filter(|(name, _)| name.contains(&args.check)).collect();
    if checks.is_empty() {
        common::tell!("no check has `{}` in its name", args.check);
        return Ok(false);
    }
    for (name, check) in checks {
        let start = Instant::now();
        // A thread of its own: some checks enter namespaces, which end with their thread.
        let outcome = thread::scope(|scope| scope.spawn(|| check(&setting)).join());
        let (word, text) = match outcome {
            Ok(Ok(text)) => ("passed", text),
            Ok(Err(Failure::NotRun(needs))) => ("not run", format!("needs {needs}")),
            Ok(Err(Failure::Violation(what))) => ("FAILED", what),
            Err(_) => ("FAILED", "the check panicked, see above".to_owned()),
        };
        passed &= word != "FAILED";
        let seconds = start.elapsed().as_secs_f64();
        crate::print(&format!("{word:<8}{name}: {text} ({seconds:.1} s)\n"))?;
    }
    Ok(passed)
}
