//! Four clients that are fed all the time, a few lines at once, each line with a text of its own; and what is known of
//! each text: given, and accepted or not.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::failure::{Failure, until};
use crate::host::{Host, ended};

/// How many clients there are.
pub(crate) const CLIENTS: usize = 4;
/// So many lines a client has in hand at most: what it is given after a fault is soon its turn.
const IN_HAND_MAX: usize = 32;
/// All clients together get 80 lines a second: whoever starts anew reads all of them.
const BETWEEN_LINES: Duration = Duration::from_millis(50);
/// How long a client may take for what it has in hand, once all is well.
const FINISHING: Duration = Duration::from_secs(60);

/// What was given with a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) count: u32,
    at: Instant,
    pub(crate) is_accepted: bool,
}

/// What is known of all texts.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) given: HashMap<String, Given>,
    /// What clients printed and should not have.
    pub(crate) strange: Vec<String>,
    pub(crate) accepted: u64,
    /// Only what is given later counts as progress.
    marked: Option<Instant>,
    /// When each client has printed so for the first time.
    went_on: [Option<Instant>; CLIENTS],
    in_hand: [usize; CLIENTS],
}

/// Those, for all threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Texts>>);

impl Texts {
    pub(crate) fn give(&mut self, client: usize, text: &str, count: u32) {
        let given = Given { count, at: Instant::now(), is_accepted: false };
        self.given.insert(text.to_owned(), given);
        self.in_hand[client] += 1;
    }

    /// A line that a client has printed.
    pub(crate) fn printed(&mut self, client: usize, line: &str) {
        let submission = line.strip_prefix("accepted ").and_then(|it| it.rsplit_once(';'));
        let given = submission.and_then(|(text, count)| {
            let given = self.given.get_mut(text)?;
            let is_right = count == given.count.to_string() && !given.is_accepted;
            is_right.then_some(given)
        });
        let Some(given) = given else {
            self.strange.push(format!("client {} printed `{line}`", client + 1));
            return;
        };
        given.is_accepted = true;
        self.accepted += 1;
        self.in_hand[client] = self.in_hand[client].saturating_sub(1);
        if self.marked.is_some_and(|marked| given.at > marked) {
            self.went_on[client].get_or_insert_with(Instant::now);
        }
    }
}

impl Record {
    /// What is known now.
    pub(crate) fn texts(&self) -> MutexGuard<'_, Texts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is watched who goes on.
    pub(crate) fn mark(&self) -> Instant {
        let mut texts = self.texts();
        let now = Instant::now();
        texts.marked = Some(now);
        texts.went_on = [None; CLIENTS];
        now
    }

    /// When the first client has gone on since.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.texts().went_on.iter().flatten().min().copied()
    }

    /// Which clients have not.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let texts = self.texts();
        (0..CLIENTS).filter(|&client| texts.went_on[client].is_none()).map(|it| it + 1).collect()
    }
}

/// A client, whichever life of it is running.
#[derive(Debug)]
pub(crate) struct Client {
    /// From 0.
    number: usize,
    seed: u64,
    record: Record,
    lives: u64,
    running: Option<Life>,
}

#[derive(Debug)]
struct Life {
    child: Option<Child>,
    is_to_end: Arc<AtomicBool>,
    threads: [JoinHandle<()>; 2],
}

impl Client {
    pub(crate) fn new(number: usize, seed: u64, record: &Record) -> Self {
        Self { number, seed, record: record.clone(), lives: 0, running: None }
    }

    /// The client's number, from 1.
    pub(crate) fn name(&self) -> String {
        format!("client {}", self.number + 1)
    }

    /// Whether it was started, and nobody has noticed its end.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The process, if nobody has noticed its end.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref()?.child.as_ref().map(Child::id)
    }

    /// Starts it on a host, with new texts.
    pub(crate) fn start(&mut self, host: &Host, mut command: Command) -> Result<(), Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.start(&format!("client{}", self.number + 1), command)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) =
            pipes.ok_or_else(|| Failure::Broken("a client has no pipes".into()))?;
        self.lives += 1;
        self.record.texts().in_hand[self.number] = 0;
        let is_to_end = Arc::new(AtomicBool::new(false));
        let feeder = Feeder {
            client: self.number,
            life: self.lives,
            seed: self.seed,
            record: self.record.clone(),
            is_to_end: Arc::clone(&is_to_end),
        };
        let (client, record) = (self.number, self.record.clone());
        let threads = [
            thread::spawn(move || feeder.feed(stdin)),
            thread::spawn(move || hear(client, &record, stdout)),
        ];
        self.running = Some(Life { child: Some(child), is_to_end, threads });
        Ok(())
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<String>, Failure> {
        let Some(life) = &mut self.running else { return Ok(None) };
        let status = ended(&mut life.child)?;
        if status.is_some() {
            self.forget();
        }
        Ok(status)
    }

    /// Gives it no more lines.
    pub(crate) fn stop_feeding(&self) {
        if let Some(life) = &self.running {
            life.is_to_end.store(true, SeqCst);
        }
    }

    /// Waits for its end, which must be exit code 0: all that it was given is accepted.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        if !self.is_running() {
            return Ok(());
        }
        let name = self.name();
        let status = until(FINISHING, &format!("the end of {name}"), || self.ended())?;
        if status == "exit status: 0" {
            return Ok(());
        }
        Err(Failure::Broken(format!("{name} has ended with {status} instead of 0")))
    }

    /// It has ended: waits until all that it has printed is read.
    fn forget(&mut self) {
        if let Some(life) = self.running.take() {
            life.is_to_end.store(true, SeqCst);
            for thread in life.threads {
                // They do not panic.
                let _ = thread.join();
            }
        }
    }
}

struct Feeder {
    client: usize,
    life: u64,
    seed: u64,
    record: Record,
    is_to_end: Arc<AtomicBool>,
}

impl Feeder {
    fn feed(self, mut stdin: ChildStdin) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(1 << 62 | (self.client as u64) << 32 | self.life);
        let mut number = 0;
        while !self.is_to_end.load(SeqCst) {
            let lines = rng.random_range(1..=4);
            thread::sleep(BETWEEN_LINES * lines);
            if self.record.texts().in_hand[self.client] + lines as usize > IN_HAND_MAX {
                continue;
            }
            let mut bytes = String::new();
            for _ in 0..lines {
                number += 1;
                let text = format!("{}.{}.{number}", self.client + 1, self.life);
                let count = rng.random_range(1..=3);
                // Writing to a String cannot fail.
                let _ = writeln!(bytes, "{text};{count}");
                // Before it is written: its acceptance may be printed at once.
                self.record.texts().give(self.client, &text, count);
            }
            if stdin.write_all(bytes.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn hear(client: usize, record: &Record, stdout: ChildStdout) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    while stdout.read_line(&mut line).is_ok_and(|len| len > 0) {
        // A killed client may have written a part of one: that was not said.
        if let Some(whole) = line.strip_suffix('\n') {
            record.texts().printed(client, whole);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_given_or_is_accepted_twice_is_strange() {
        let mut texts = Texts::default();
        texts.give(0, "1.1.1", 2);
        for (line, strange) in [
            ("accepted 1.1.1;3", 1),
            ("accepted 1.1.1;2", 1),
            ("accepted 1.1.1;2", 2),
            ("accepted x;2", 3),
            ("y", 4),
        ] {
            texts.printed(0, line);
            assert_eq!(texts.strange.len(), strange, "{line}");
        }
        assert_eq!(texts.accepted, 1);
    }

    #[test]
    fn only_what_was_given_after_the_mark_is_progress() {
        let record = Record::default();
        record.texts().give(1, "old", 1);
        record.mark();
        record.texts().printed(1, "accepted old;1");
        assert_eq!((record.first(), record.waiting()), (None, vec![1, 2, 3, 4]));
        record.texts().give(1, "new", 1);
        record.texts().printed(1, "accepted new;1");
        assert!(record.first().is_some());
        assert_eq!(record.waiting(), [1, 3, 4]);
    }
}
