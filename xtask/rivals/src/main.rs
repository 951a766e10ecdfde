//! What people would build without promises: one process reads the lines `TEXT;COUNT`, logs them, and gives the
//! messages to N workers in turn, which log them, too. Nothing is lost as long as nobody dies, and the log has the lines of
//! ours, in another order. `cargo xtask bench` measures it beside ours and judges its log.
//!
//! ```text
//! rivals WAY N LOG < lines          gives; starts the workers, and ends after them
//! rivals WAY N LOG take K           worker K of those
//! ```
//!
//! WAY is how messages get from one to the other: `pipes`, and as far as it was built in `zeromq` and `redis`. Their
//! sockets are in the working directory.
#![forbid(unsafe_code)]

mod give;
mod log;
mod pipes;
#[cfg(feature = "redis")]
mod redis_lists;
mod take;
#[cfg(feature = "zeromq")]
mod zeromq;

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

/// Everybody's buffers: as much as a pipe holds.
const BUFFER_LEN: usize = 64 << 10;

/// What all processes of a run are given.
struct Args {
    way: String,
    workers: usize,
    log: PathBuf,
}

impl Args {
    /// And which worker this is to be, if it is one.
    fn parse(args: &[String]) -> Option<(Self, Option<usize>)> {
        let (common, worker) = match args {
            [common @ .., take, worker] if take == "take" => (common, Some(worker.parse().ok()?)),
            common => (common, None),
        };
        let [way, workers, log] = common else { return None };
        let workers = workers.parse().ok().filter(|&workers| workers > 0)?;
        Some((Self { way: way.clone(), workers, log: log.into() }, worker))
    }

    /// Starts a worker for each number from 1 to N.
    fn start_workers(&self, stdin: impl Fn() -> Stdio) -> io::Result<Vec<Child>> {
        let start = |worker: usize| {
            let mut command = Command::new("/proc/self/exe");
            command.arg(&self.way).arg(self.workers.to_string()).arg(&self.log);
            command.args(["take", &worker.to_string()]).stdin(stdin()).spawn()
        };
        (1..=self.workers).map(start).collect()
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((args, worker)) = Args::parse(&args) else {
        eprintln!("rivals: write WAY N LOG");
        return ExitCode::from(2);
    };
    match run(&args, worker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals: {}: {error}", args.way);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, worker: Option<usize>) -> io::Result<()> {
    match (args.way.as_str(), worker) {
        ("pipes", None) => give::run(pipes::Pipes::start(args)?, args),
        ("pipes", Some(worker)) => take::run(worker, args, pipes::take),
        #[cfg(feature = "zeromq")]
        ("zeromq", None) => give::run(zeromq::Sockets::start(args)?, args),
        #[cfg(feature = "zeromq")]
        ("zeromq", Some(worker)) => {
            take::run(worker, args, |executed| zeromq::take(worker, executed))
        }
        #[cfg(feature = "redis")]
        ("redis", None) => give::run(redis_lists::Lists::start(args)?, args),
        #[cfg(feature = "redis")]
        ("redis", Some(worker)) => {
            take::run(worker, args, |executed| redis_lists::take(worker, executed))
        }
        _ => Err(io::Error::other("it was built without this way")),
    }
}

/// Waits for processes, which must end well.
fn wait_for(children: Vec<Child>) -> io::Result<()> {
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("a worker ended with {status}")));
        }
    }
    Ok(())
}
