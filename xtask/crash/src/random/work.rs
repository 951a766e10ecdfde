//! Rounds with work: how workers run the handler `unruly`, and what must hold of that at the end.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::dead::{self, Letter};
use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tests::mood::{Mood, Whim};
use tests::{Binaries, Sandbox};

use super::check::{Log, read_lines};
use super::plan::pick;
use super::stage::Stage;

/// What a message is that killed its worker three times, as its letter says.
const POISON: &str = "its worker died in it for the third time";
/// How long what a done message has left may live on.
const LEFT_MAX: Duration = Duration::from_secs(2);

/// How COMMAND is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(super) mood: Mood,
    retries: u32,
    backoff: Duration,
    grace: Duration,
}

impl Work {
    /// In half of the rounds.
    pub(super) fn draw(seed: u64, round: u64) -> Option<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Numbers of its own: the other rounds stay as they were without it.
        rng.set_stream(!round);
        let ms = Duration::from_millis;
        let mood = Mood {
            seed: rng.random(),
            lines: rng.random_ratio(1, 2),
            timeout: rng.random_ratio(1, 2).then(|| ms(rng.random_range(60..=300))),
            closes: rng.random_ratio(1, 2),
            bare: rng.random_ratio(1, 2),
        };
        let work = Self {
            mood,
            retries: pick(&mut rng, &[(1, 0), (1, 1), (2, 4)]),
            backoff: ms(pick(&mut rng, &[(1, 0), (2, 2), (1, 20)])),
            grace: ms(pick(&mut rng, &[(1, 0), (2, 20), (1, 100)])),
        };
        rng.random_ratio(1, 2).then_some(work)
    }

    /// So many of a client's messages make a round that is short.
    pub(super) fn messages_max(&self) -> u32 {
        if self.mood.lines { 60 } else { 15 }
    }

    /// Arguments of the balancer, or of a worker by hand.
    pub(super) fn args(&self, sandbox: &Sandbox) -> Result<Vec<String>, String> {
        let dir = evidence(sandbox);
        std::fs::create_dir_all(dir.join("locks")).map_err(|error| error.to_string())?;
        let command = [Binaries::unruly().display(), dir.display()].map(|path| path.to_string());
        let args = self.to_string();
        let (options, mood) = args.rsplit_once(' ').unwrap_or_default();
        let options = options.split(' ').map(str::to_owned);
        Ok(options.chain(["--".to_owned()]).chain(command).chain([mood.to_owned()]).collect())
    }

    /// Each message is done, or has a letter that something explains; and none was in two attempts at once.
    pub(super) fn check(&self, stage: &mut Stage<'_>, log: &Log) -> Result<(), String> {
        let tally = &mut stage.tally.work;
        tally.rounds += 1;
        tally.messages += log.messages;
        let overlaps = read(stage.sandbox, "overlaps");
        let is_overlap = |line: &&str| line.starts_with("overlap\t");
        tally.overlaps += overlaps.lines().filter(is_overlap).count() as u64;
        tally.dying += overlaps.lines().filter(|line| !is_overlap(line)).count() as u64;
        let attempts = read(stage.sandbox, "attempts");
        let mut done = HashSet::new();
        for line in attempts.lines() {
            let fields: Vec<&str> = line.splitn(6, '\t').collect();
            let [what, _, attempt, index, _, text] = fields[..] else {
                return Err(format!("not an attempt: {line}"));
            };
            match what {
                "try" => {
                    tally.attempts += 1;
                    tally.retries += u64::from(attempt != "1");
                }
                _ => drop(done.insert((text, index.parse::<u32>().unwrap_or_default()))),
            }
        }
        if let Some(overlap) = overlaps.lines().find(is_overlap) {
            let number = stage.tally.work.overlaps;
            return Err(format!("{number} attempts beside an earlier one; the first: {overlap}"));
        }
        let letters = letters(stage.sandbox)?;
        stage.tally.work.letters += letters.len() as u64;
        let poison = letters.values().filter(|letter| letter.outcome == POISON).count();
        stage.tally.work.poison += poison as u64;
        for letter in letters.values() {
            self.check_letter(stage, letter)?;
        }
        for submission in &log.submissions {
            let text = submission.text();
            for index in 1..=submission.count() {
                if !done.contains(&(text, index))
                    && !letters.contains_key(&(text.to_owned(), index))
                {
                    return Err(format!("neither done nor dead: {text} (#message {index})"));
                }
            }
        }
        let start = Instant::now();
        while !handlers(stage.sandbox).is_empty() && start.elapsed() < LEFT_MAX {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Whether anything explains a letter.
    fn check_letter(&self, stage: &Stage<'_>, letter: &Letter) -> Result<(), String> {
        let (attempts, outcome) = (letter.attempts, letter.outcome.as_str());
        let tally = &stage.tally;
        let whim = self.mood.whim(&letter.text, letter.index, attempts);
        let was_killed = outcome.ends_with("signal 9 (SIGKILL)")
            || matches!(whim, Whim::Delegate(to) if self.mood.explains(Whim::FailAndLeave(to), outcome));
        let is_explained = match outcome {
            POISON => {
                let mut whims =
                    (1..=attempts).map(|n| self.mood.whim(&letter.text, letter.index, n));
                let kills = tally.worker.kills() + tally.balancer.kills();
                attempts >= 3
                    && (kills >= 3 || whims.any(|whim| matches!(whim, Whim::KillWorker(_))))
            }
            _ if was_killed && tally.handler.kills() > 0 => attempts > self.retries,
            _ if self.mood.explains(whim, outcome) => {
                attempts > self.retries || whim == Whim::GiveUp
            }
            _ => false,
        };
        if is_explained {
            return Ok(());
        }
        Err(format!("nothing explains that a message is dead (it was to {whim:?}): {letter:?}"))
    }

    /// Whether a balancer that found so many sessions in the log ended with the right code, 0 or 1.
    pub(super) fn check_exit_code(
        stage: &Stage<'_>,
        code: i32,
        sessions: u64,
    ) -> Result<(), String> {
        let log = read_lines(stage.sandbox, stage.plan)?.log;
        let dead: HashSet<String> =
            letters(stage.sandbox)?.into_keys().map(|(text, _)| text).collect();
        let has_dead = |session: u64| {
            let end =
                |session: Option<u64>| session.map_or(0, |session| log.ends[session as usize]);
            let submissions = &log.submissions[end(session.checked_sub(1))..end(Some(session))];
            submissions.iter().any(|submission| dead.contains(submission.text()))
        };
        // The first of its sessions may have been ended by workers and forgotten by a client before it looked.
        let (first, last) = (sessions, log.sessions);
        let may = (first.saturating_sub(1)..last).any(has_dead);
        let must = if stage.plan.serve {
            (first + 1..last).any(has_dead)
        } else {
            last > first && has_dead(last - 1)
        };
        match code {
            0 if must => Err("it ended with 0, and a message is dead".to_owned()),
            1 if !may => Err("it ended with 1, and no message is dead".to_owned()),
            _ => Ok(()),
        }
    }
}

/// As arguments, without the command; the mood is the last.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        if self.mood.lines {
            f.write_str("--lines ")?;
        }
        if let Some(timeout) = self.mood.timeout {
            write!(f, "--timeout {} ", ms(timeout))?;
        }
        let (backoff, grace) = (ms(self.backoff), ms(self.grace));
        write!(f, "--retries {} --backoff {backoff} --grace {grace} {}", self.retries, self.mood)
    }
}

/// Where the handlers leave what they did: not in the directory that is to be empty at the end.
fn evidence(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.dir();
    dir.parent().unwrap_or(&dir).join("work")
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(evidence(sandbox).join(name)).unwrap_or_default()
}

/// One for each dead message, the first: a message that is dead twice would not be. Half a line is none.
fn letters(sandbox: &Sandbox) -> Result<HashMap<(String, u32), Letter>, String> {
    let text = std::fs::read_to_string(sandbox.dir().join(dead::NAME)).unwrap_or_default();
    let mut letters = HashMap::new();
    for line in text.lines() {
        if let Ok(letter) = serde_json::from_str::<Letter>(line) {
            letters.entry((letter.text.clone(), letter.index)).or_insert(letter);
        } else if !line.is_empty() && line.ends_with('}') {
            return Err(format!("not a letter: {line}"));
        }
    }
    Ok(letters)
}

/// The processes of COMMAND, and all that those have started.
pub(super) fn handlers(sandbox: &Sandbox) -> Vec<Pid> {
    let is_one = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Binaries::unruly())
    };
    sandbox.processes().into_iter().filter(is_one).map(Pid::from_raw).collect()
}
