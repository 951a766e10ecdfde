//! A program on a terminal: a real pseudo-terminal (`pty(7)`), and a model of what its screen shows.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use pty_process::Size;
use pty_process::blocking::{Pts, Pty, open};
use std::os::fd::AsFd;
use vt100::{Parser, Screen};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal, and what was started on it. Dropping it kills that.
pub(crate) struct Terminal {
    /// Nothing: it was closed.
    pty: Option<Pty>,
    pts: Pts,
    child: Child,
    parser: Parser,
}

impl Terminal {
    /// Starts a command on a terminal of so many columns and rows.
    pub(crate) fn start(command: Command, columns: u16, rows: u16) -> Self {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("a size");
        let mut command = pty_process::blocking::Command::from(command);
        let child = command.spawn_borrowed(&pts).expect("starting a program");
        let size = |cells| NonZeroU16::new(cells).expect("a size");
        let parser = Parser::new(size(rows), size(columns), 0);
        Self { pty: Some(pty), pts, child, parser }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Types.
    pub(crate) fn keys(&mut self, keys: &str) {
        let pty = self.pty.as_mut().expect("a terminal that is open");
        pty.write_all(keys.as_bytes()).expect("writing to a terminal");
    }

    /// Gives the terminal another size, as a user does with its window.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let size = |cells| NonZeroU16::new(cells).expect("a size");
        self.parser.set_size(size(rows), size(columns));
        let pty = self.pty.as_ref().expect("a terminal that is open");
        pty.resize(Size::new(rows, columns)).expect("a size");
    }

    /// Closes it, as a user does with its window.
    pub(crate) fn close(&mut self) {
        self.pty = None;
    }

    /// What it is set to.
    pub(crate) fn settings(&self) -> Termios {
        tcgetattr(self.pts.as_fd()).expect("tcgetattr")
    }

    pub(crate) fn screen(&self) -> &Screen {
        self.parser.screen()
    }

    /// What the screen shows, by rows.
    pub(crate) fn rows(&self) -> Vec<String> {
        let columns = self.screen().size().1.get();
        self.screen().rows(0, columns).collect()
    }

    pub(crate) fn shows(&self, text: &str) -> bool {
        self.rows().iter().any(|row| row.contains(text))
    }

    /// Waits until the screen shows what is wanted.
    pub(crate) fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < PATIENCE, "never seen: {what}\n{}", self.report());
            self.take();
        }
    }

    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |terminal| terminal.shows(text));
    }

    /// Waits until it ends.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("waitpid");
            self.take();
            if let Some(status) = ended {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "has not ended\n{}", self.report());
        }
    }

    /// Takes what was written to the terminal, and waits a moment for it.
    fn take(&mut self) {
        let Some(pty) = &mut self.pty else {
            std::thread::sleep(Duration::from_millis(1));
            return;
        };
        let mut bytes = [0; 4096];
        while poll(&mut [PollFd::new(pty.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_u8))
            .is_ok_and(|ready| ready > 0)
        {
            match pty.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => self.parser.process(&bytes[..read.expect("reading from a terminal")]),
            }
        }
    }

    /// Everything needed to understand a failure.
    pub(crate) fn report(&self) -> String {
        let mut report = String::new();
        for row in self.rows() {
            let _ = writeln!(report, "|{row}|");
        }
        report
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
