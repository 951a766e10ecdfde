//! Rounds with work: how workers run the handler `unruly`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tests::mood::Mood;
use tests::{Binaries, Sandbox};

use super::pick::pick;

/// How COMMAND is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(super) mood: Mood,
    pub(super) retries: u32,
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
pub(super) fn evidence(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.dir();
    dir.parent().unwrap_or(&dir).join("work")
}

/// The processes of COMMAND, and all that those have started.
pub(super) fn handlers(sandbox: &Sandbox) -> Vec<Pid> {
    let is_one = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Binaries::unruly())
    };
    sandbox.processes().into_iter().filter(is_one).map(Pid::from_raw).collect()
}
