//! The main job beside `lbctl watch`, against the same alone: what it costs to be watched. By turns, so that
//! whatever else the machine does is shared by both.

use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use pty_process::Size;
use pty_process::blocking::{Pty, open};
use serde::Serialize;
use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::{Failure, PATIENCE};
use super::job::Job;
use super::judge;
use super::launch::{unwatch, watch};
use super::spread::Spread;

/// How long the job takes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Watched {
    pub(super) messages: u32,
    pub(super) workers: u32,
    pub(super) alone_ms: Spread,
    pub(super) beside_watch_ms: Spread,
    /// Watched by alone, round by round.
    pub(super) times_alone: Spread,
    pub(super) verified: bool,
}

/// So many rounds of both in turn, and one before.
pub(super) fn run(case: Case, rounds: usize, binaries: &Binaries) -> Result<Watched, Failure> {
    let (mut alone, mut watched, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let mut took = [0.0; 2];
        let first = round % 2;
        for watches in [first, 1 - first] {
            let sandbox = Sandbox::new(binaries);
            let onlooker = (watches == 1).then(|| Onlooker::start(&sandbox)).transpose()?;
            took[watches] = Job::new(&sandbox, &case)?.run()?.as_secs_f64() * 1e3;
            onlooker.map_or(Ok(()), Onlooker::finish)?;
            judge::canonical(&sandbox.log_path(), &case)?;
        }
        if round > 0 {
            alone.push(took[0]);
            watched.push(took[1]);
            ratios.push(took[1] / took[0]);
        }
    }
    Ok(Watched {
        messages: case.messages,
        workers: case.workers.get(),
        alone_ms: Spread::of(&alone),
        beside_watch_ms: Spread::of(&watched),
        times_alone: Spread::of(&ratios),
        verified: true,
    })
}

/// An `lbctl watch` on a terminal of its own, which somebody reads.
struct Onlooker {
    child: Child,
    pty: Arc<Pty>,
    reader: Option<JoinHandle<()>>,
}

impl Onlooker {
    /// Returns once it shows something.
    fn start(sandbox: &Sandbox) -> Result<Self, Failure> {
        let system = |error: pty_process::Error| {
            Failure::system("a pseudo-terminal")(std::io::Error::other(error))
        };
        let (pty, pts) = open().map_err(system)?;
        pty.resize(Size::new(24, 80)).map_err(system)?;
        let mut command: Command = sandbox.command("lbctl", &["watch"]);
        command.env("TERM", "xterm-256color");
        let child = pty_process::blocking::Command::from(command).spawn(pts).map_err(system)?;
        watch(child.id());
        let pty = Arc::new(pty);
        let (has_begun, begun) = std::sync::mpsc::channel();
        let output = Arc::clone(&pty);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error once nobody has the terminal open any more.
            while (&*output).read(&mut bytes).is_ok_and(|read| read > 0) {
                let _ = has_begun.send(Instant::now());
            }
        });
        let onlooker = Self { child, pty, reader: Some(reader) };
        match begun.recv_timeout(PATIENCE) {
            Ok(_) => Ok(onlooker),
            Err(_) => Err(Failure::TooLate("lbctl watch's picture")),
        }
    }

    /// Ends it, as its user does; it must have been there to the end.
    fn finish(mut self) -> Result<(), Failure> {
        let _ = (&*self.pty).write_all(b"q");
        let status = self.child.wait().map_err(Failure::system("waitpid"))?;
        if status.success() {
            return Ok(());
        }
        let name = "lbctl watch".to_owned();
        Err(Failure::Program { name, status, stderr: String::new() })
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        unwatch(self.child.id());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
