//! `lbctl watch`: the same as `lbctl status`, live, as a picture of the system on the whole terminal.
//!
//! ```text
//! clients --> ledger --> balancer --> a queue and a worker each --> log
//! ```
//!
//! [`model`] remembers what the picture needs of earlier looks, [`picture`] draws it on any screen; here is the
//! terminal: it is left as it was, also when a signal ends this program.

mod model;
pub mod picture;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::error::{Error, exit, report, signal_exit_code};
use common::fence::signals;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::args::Watch;
use crate::snapshot::Onlooker;
pub use model::Model;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);

/// Watches until the user ends it. Returns the exit code.
#[must_use]
pub fn run(args: &Watch) -> ExitCode {
    if !io::stdout().is_terminal() {
        common::tell!("lbctl: watch needs a terminal; `lbctl status` prints the same once");
        return ExitCode::from(exit::USAGE);
    }
    report("lbctl", watch(args))
}

fn watch(args: &Watch) -> Result<u8, Error> {
    signals::start_clean().map_err(Error::system("sigaction"))?;
    signals::watch(1).map_err(Error::system("sigaction"))?;
    // Before the terminal is another one: what is wrong here is said on the one that was there.
    let mut onlooker = Onlooker::new(&args.dir)?;
    onlooker.look()?;
    let mut terminal = ratatui::try_init().map_err(Error::system("the terminal"))?;
    let watched = show(&mut terminal, &mut onlooker);
    let restored = ratatui::try_restore().map_err(Error::system("the terminal"));
    let code = watched?;
    restored.map(|()| code)
}

fn show(terminal: &mut DefaultTerminal, onlooker: &mut Onlooker) -> Result<u8, Error> {
    let mut model = Model::default();
    let mut look_at = Instant::now();
    loop {
        if let Some(signal) = signals::aborted_by() {
            return Ok(signal_exit_code(signal));
        }
        if look_at <= Instant::now() {
            let snapshot = onlooker.look();
            model.take(snapshot, onlooker.log());
            look_at = Instant::now() + EVERY;
        }
        terminal
            .draw(|frame| picture::draw(frame, &mut model))
            .map_err(Error::system("the terminal"))?;
        let left = look_at.saturating_duration_since(Instant::now());
        match event::poll(left) {
            Ok(false) => {}
            Ok(true) => {
                let event = event::read().map_err(Error::system("the terminal"))?;
                if !heed(&event, &mut model) {
                    return Ok(0);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system("the terminal")(error)),
        }
    }
}

/// Returns false if it ends the program.
fn heed(event: &Event, model: &mut Model) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = *event else {
        return true; // another size is looked at with the next picture
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Up | KeyCode::Char('k') => model.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => model.scroll(1),
        KeyCode::PageUp => model.scroll_pages(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => model.scroll_pages(1),
        KeyCode::Home => model.scroll(isize::MIN),
        KeyCode::End => model.scroll(isize::MAX),
        _ => {}
    }
    true
}
