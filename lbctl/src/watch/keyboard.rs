//! The terminal's keys. They are read here and not by `crossterm`, which reads for ever from a terminal that was
//! closed, and waits for the rest of half a key without a look at signals.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What follows ESC comes at once, unless it was the key of that name.
const ESCAPE_PATIENCE: Duration = Duration::from_millis(50);
const ESC: u8 = 0x1b;
const CTRL_C: u8 = 3;
const CTRL_Z: u8 = 0x1a;

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    End,
    Suspend,
    /// So many workers down.
    Lines(isize),
    /// So many pages of workers down.
    Pages(isize),
}

/// What a wait came to.
pub(super) enum Input {
    /// Keys, or none.
    Wishes(Vec<Wish>),
    /// There is no terminal any more.
    Closed,
}

pub(super) struct Keyboard {
    terminal: File,
    /// Bytes that may be the beginning of a key's.
    begun: Vec<u8>,
}

impl Keyboard {
    /// That of standard input, or of the terminal on which this process was started.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        let terminal = if stdin.is_terminal() {
            File::from(stdin.as_fd().try_clone_to_owned()?)
        } else {
            File::open("/dev/tty")?
        };
        Ok(Self { terminal, begun: Vec::new() })
    }

    /// Waits for keys; not longer than this, nor after a signal.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<Input> {
        let is_begun = !self.begun.is_empty();
        let limit = if is_begun { ESCAPE_PATIENCE } else { limit };
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(limit).ok().as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Input::Wishes(Vec::new())),
            polled => polled?,
        };
        let events = fds[0].revents();
        if events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Ok(Input::Closed);
        }
        if !events.contains(PollFlags::IN) {
            let alone = std::mem::take(&mut self.begun) == [ESC];
            return Ok(Input::Wishes(alone.then_some(Wish::End).into_iter().collect()));
        }
        let mut bytes = [0; 256];
        let len = match self.terminal.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Input::Wishes(Vec::new()));
            }
            Ok(0) => return Ok(Input::Closed),
            read => read?,
        };
        self.begun.extend_from_slice(&bytes[..len]);
        let (wishes, rest) = wishes(&self.begun);
        self.begun = rest.to_vec();
        Ok(Input::Wishes(wishes))
    }
}

/// The keys' meanings, and what may be the beginning of a further key's bytes (`console_codes(4)`).
fn wishes(mut bytes: &[u8]) -> (Vec<Wish>, &[u8]) {
    let mut wishes = Vec::new();
    loop {
        let (wish, rest) = match bytes {
            [] | [ESC] => return (wishes, bytes),
            [ESC, b'[' | b'O', tail @ ..] => {
                let Some(end) = tail.iter().position(|byte| matches!(byte, 0x40..=0x7e)) else {
                    return (wishes, bytes);
                };
                (of_sequence(&tail[..=end]), &tail[end + 1..])
            }
            [ESC, _, rest @ ..] => (None, rest), // with Alt
            [byte, rest @ ..] => (of_byte(*byte), rest),
        };
        wishes.extend(wish);
        bytes = rest;
    }
}

fn of_byte(byte: u8) -> Option<Wish> {
    match byte {
        b'q' | CTRL_C => Some(Wish::End),
        CTRL_Z => Some(Wish::Suspend),
        b'k' => Some(Wish::Lines(-1)),
        b'j' => Some(Wish::Lines(1)),
        b' ' => Some(Wish::Pages(1)),
        _ => None,
    }
}

fn of_sequence(sequence: &[u8]) -> Option<Wish> {
    match sequence {
        b"A" => Some(Wish::Lines(-1)),
        b"B" => Some(Wish::Lines(1)),
        b"5~" => Some(Wish::Pages(-1)),
        b"6~" => Some(Wish::Pages(1)),
        b"H" | b"1~" | b"7~" => Some(Wish::Lines(isize::MIN)),
        b"F" | b"4~" | b"8~" => Some(Wish::Lines(isize::MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(b"x", &[], b"")]
    #[case(b"jkq", &[Wish::Lines(1), Wish::Lines(-1), Wish::End], b"")]
    #[case(b"\x1b[A\x1bOB\x1b[6~", &[Wish::Lines(-1), Wish::Lines(1), Wish::Pages(1)], b"")]
    #[case(b"\x1b", &[], b"\x1b")]
    #[case(b"j\x1b[", &[Wish::Lines(1)], b"\x1b[")]
    #[case(b"\x1b[1;5A\x1bqj", &[Wish::Lines(1)], b"")]
    #[case("é\u{9b}".as_bytes(), &[], b"")]
    fn keys(#[case] bytes: &[u8], #[case] meant: &[Wish], #[case] begun: &[u8]) {
        assert_eq!(wishes(bytes), (meant.to_vec(), begun));
    }
}
