//! The main job beside `lbctl watch`, against the same alone: what it costs to be watched. By turns.

use std::io::{Read, Write};
use std::sync::{Arc, mpsc};
use std::thread;

use pty_process::Size;
use pty_process::blocking::{Pty, open};
use serde::Serialize;
use tests::{Binaries, Sandbox};

use super::case::Case;
use super::failure::{Failure, PATIENCE};
use super::job::Job;
use super::launch::Launched;
use super::spread::Spread;
use super::turns;

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
    let alone = || Job::new(&Sandbox::new(binaries), case)?.run();
    let watched = || {
        let sandbox = Sandbox::new(binaries);
        let onlooker = Onlooker::start(&sandbox)?;
        let took = Job::new(&sandbox, case)?.run()?;
        onlooker.finish()?;
        Ok(took)
    };
    let took = turns::run(rounds, watched, alone)?;
    Ok(Watched {
        messages: case.messages,
        workers: case.workers.get(),
        alone_ms: took.second_ms,
        beside_watch_ms: took.first_ms,
        times_alone: took.ratio,
        verified: true,
    })
}

/// An `lbctl watch` on a terminal of its own, which somebody reads.
struct Onlooker {
    process: Launched,
    pty: Arc<Pty>,
}

impl Onlooker {
    /// Returns once it shows something.
    fn start(sandbox: &Sandbox) -> Result<Self, Failure> {
        let system = |error: pty_process::Error| {
            Failure::system("a pseudo-terminal")(std::io::Error::other(error))
        };
        let (pty, pts) = open().map_err(system)?;
        pty.resize(Size::new(24, 80)).map_err(system)?;
        let mut command = sandbox.command("lbctl", &["watch"]);
        command.env("TERM", "xterm-256color");
        let child = pty_process::blocking::Command::from(command).spawn(pts).map_err(system)?;
        let process = Launched::adopt(child, "lbctl watch".to_owned())?;
        let pty = Arc::new(pty);
        let (has_begun, begun) = mpsc::channel();
        let output = Arc::clone(&pty);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error once nobody has the terminal open any more.
            while (&*output).read(&mut bytes).is_ok_and(|read| read > 0) {
                let _ = has_begun.send(());
            }
        });
        let begun = begun.recv_timeout(PATIENCE);
        begun.map_err(|_| Failure::TooLate("lbctl watch's picture"))?;
        Ok(Self { process, pty })
    }

    /// Ends it, as its user does; it must have been there to the end.
    fn finish(self) -> Result<(), Failure> {
        let _ = (&*self.pty).write_all(b"q");
        self.process.finish()
    }
}
