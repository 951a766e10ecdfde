//! `lbctl watch`: the same as `lbctl status`, live, as a picture of the system on the whole terminal.
//!
//! ```text
//! clients --> ledger --> balancer --> a queue and a worker each --> log
//! ```
//!
//! `model` remembers what the picture needs of earlier looks, `picture` draws it on any screen; `screen` and
//! `keyboard` are the terminal, which is left as it was, also when a signal ends this program.

mod keyboard;
mod model;
mod picture;
mod screen;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::error::{Error, exit, report, signal_exit_code};
use common::fence::signals;
use common::program::advice;
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};

use crate::args::Watch;
use crate::snapshot::Onlooker;
use keyboard::{Input, Keyboard, Wish};
use model::Model;
use screen::Screen;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);

/// Watches until the user ends it. Returns the exit code.
#[must_use]
pub fn run(args: &Watch) -> ExitCode {
    advice::give(&args.dir, None);
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !io::stdout().is_terminal() {
        let status = advice::command("lbctl status", "");
        common::tell!(
            "lbctl: watch needs a terminal with a cursor; `{status}` prints the same once"
        );
        return ExitCode::from(exit::USAGE);
    }
    report("lbctl", watch(args))
}

fn watch(args: &Watch) -> Result<u8, Error> {
    signals::watch(1).map_err(Error::system("sigaction"))?;
    let job = JobControl::new().map_err(Error::system("sigaction"))?;
    // Before the terminal is another one: what is wrong here is said on the one that was there.
    let mut onlooker = Onlooker::new(&args.dir)?;
    onlooker.look()?;
    let mut keyboard = Keyboard::open().map_err(terminal)?;
    let mut screen = Screen::enter().map_err(terminal)?;
    let watched = show(&mut screen, &mut keyboard, &mut onlooker, &job);
    let left = screen.leave().map_err(terminal);
    // A terminal that was closed is no trouble: its signal says what has happened.
    if let Some(signal) = signals::aborted_by() {
        return Ok(signal_exit_code(signal));
    }
    let code = watched?;
    left.map(|()| code)
}

fn terminal(error: io::Error) -> Error {
    Error::system("the terminal")(error)
}

fn show(
    screen: &mut Screen,
    keyboard: &mut Keyboard,
    onlooker: &mut Onlooker,
    job: &JobControl,
) -> Result<u8, Error> {
    let mut model = Model::default();
    let mut look_at = Instant::now();
    loop {
        if let Some(signal) = signals::aborted_by() {
            return Ok(signal_exit_code(signal));
        }
        if job.stop.swap(false, SeqCst) {
            screen.leave().map_err(terminal)?;
            job.stand_still().map_err(terminal)?;
        }
        if job.go_on.swap(false, SeqCst) {
            screen.enter_again().map_err(terminal)?;
        }
        if look_at <= Instant::now() {
            let snapshot = onlooker.look();
            model.take(snapshot, onlooker.log());
            look_at = Instant::now() + EVERY;
        }
        screen.draw(|frame| picture::draw(frame, &mut model)).map_err(terminal)?;
        match keyboard.wait(look_at.saturating_duration_since(Instant::now())).map_err(terminal)? {
            Input::Closed => return Ok(signal_exit_code(Signal::SIGHUP)),
            Input::Wishes(wishes) => {
                for wish in wishes {
                    match wish {
                        Wish::End => return Ok(0),
                        Wish::Suspend => job.stop.store(JobControl::has_shell(), SeqCst),
                        Wish::Lines(by) => model.scroll(by),
                        Wish::Pages(by) => model.scroll_pages(by),
                    }
                }
            }
        }
    }
}

/// A shell's job control. A signal also ends a wait for keys.
struct JobControl {
    /// SIGTSTP, or Ctrl-Z.
    stop: Arc<AtomicBool>,
    /// SIGCONT: meanwhile others may have had the terminal.
    go_on: Arc<AtomicBool>,
}

impl JobControl {
    fn new() -> io::Result<Self> {
        let job = Self { stop: Arc::default(), go_on: Arc::default() };
        signal_hook::flag::register(SIGTSTP, Arc::clone(&job.stop))?;
        signal_hook::flag::register(SIGCONT, Arc::clone(&job.go_on))?;
        // Each picture asks for the size anyway.
        signal_hook::flag::register(SIGWINCH, Arc::default())?;
        Ok(job)
    }

    /// Whether there is a shell that would have it go on.
    fn has_shell() -> bool {
        use nix::unistd::{getpgid, getpgrp, getppid, getsid};
        let parent = getppid();
        let is_in_session = getsid(Some(parent)).is_ok_and(|session| getsid(None) == Ok(session));
        is_in_session && getpgid(Some(parent)).is_ok_and(|group| group != getpgrp())
    }

    /// Returns when this process is to go on.
    fn stand_still(&self) -> io::Result<()> {
        signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
        self.go_on.store(true, SeqCst);
        Ok(())
    }
}
