//! The terminal's screen. Whatever is shown is on another one than what was there, which comes back.

use std::io::{self, stdout};

use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, Frame};

pub(super) struct Screen(Option<DefaultTerminal>);

impl Screen {
    /// From now on keys are not shown, and a panic restores the terminal first.
    pub(super) fn enter() -> io::Result<Self> {
        Ok(Self(Some(ratatui::try_init()?)))
    }

    /// The same after it was left, or after somebody else had the terminal.
    pub(super) fn enter_again(&mut self) -> io::Result<()> {
        disable_raw_mode()?; // else it believes that nothing is to be done
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        // All of it is drawn again after that. (To clear it asks the terminal where its cursor is, and waits.)
        let Some(terminal) = &mut self.0 else { return Ok(()) };
        let size = terminal.size()?;
        terminal.resize(Rect::new(0, 0, size.width, size.height))
    }

    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |terminal| terminal.draw(picture).map(drop))
    }

    /// Gives the terminal back as it was.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        let shown = self.0.as_mut().map_or(Ok(()), DefaultTerminal::show_cursor);
        let left = shown.and(ratatui::try_restore());
        if left.is_err() {
            // It is gone. To be dropped it would want to say that on standard error, which is gone, too: a panic.
            std::mem::forget(self.0.take());
        }
        left
    }
}
