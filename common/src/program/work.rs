//! What is to be done with each message: the arguments that load balancer and worker share, and that the one
//! hands to the other.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::error::Error;
use crate::grammar::{DEAD_NAME, LOG_NAME};

/// Times are given in seconds, or with a unit: 90, 1.5, 2m, 500ms.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Work {
    /// Start COMMAND once for each worker and keep it: it reads a line `ID<tab>ATTEMPT<tab>INDEX<tab>TEXT` for
    /// each message, and answers each with a line `ID<tab>ok`, `retry`, `dead` or `alive`.
    #[arg(long, requires = "command")]
    pub lines: bool,
    /// Try a message again, up to so many times, when COMMAND failed [default: 0]
    #[arg(long, value_name = "R", default_value_t = 0, hide_default_value = true, requires = "command",
          value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub retries: u16,
    /// Wait so long before the first retry; twice as long before each further one, at most 60 s [default: 1 s]
    #[arg(long, value_name = "TIME", default_value = "1", hide_default_value = true, requires = "command",
          value_parser = time)]
    pub backoff: Duration,
    /// End an attempt that takes longer; it has failed. 0: it may take as long as it wants.
    #[arg(long, value_name = "TIME", requires = "command", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Leave COMMAND so long between SIGTERM and SIGKILL [default: 5 s]
    #[arg(long, value_name = "TIME", default_value = "5", hide_default_value = true, requires = "command",
          value_parser = time)]
    pub grace: Duration,
    /// Append a line for each attempt to FILE, in the nine columns of GNU parallel's.
    #[arg(long, value_name = "FILE", requires = "command", value_parser = joblog)]
    pub joblog: Option<PathBuf>,
    /// What to do with each message: no shell; an ARG `{}` becomes the text, `{#}` the index, `{%}` the worker.
    #[arg(last = true, value_names = ["COMMAND", "ARG"], num_args = 1..)]
    pub command: Vec<OsString>,
}

/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Nothing here is meant to take longer.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Not one of our own files.
fn joblog(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let name = path.file_name().map_or_else(|| text.into(), |name| name.to_string_lossy());
    let is_own = name.starts_with(LOG_NAME) || name.starts_with(DEAD_NAME);
    if is_own { Err(format!("{name} is a file of the load balancer's own")) } else { Ok(path) }
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let plain = text.chars().all(digits).then(|| text.parse().ok()).flatten();
    let time = match plain {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    time.filter(|&time| time <= TIME_MAX)
        .ok_or_else(|| "must be a time of at most a year: 90 (seconds), 1.5, 500ms, 2m".to_owned())
}

impl Work {
    /// How long an attempt may take.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout.filter(|time| !time.is_zero())
    }

    /// Whether there is a COMMAND.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.command.is_empty()
    }

    /// How long to wait after so many failures, at least one.
    #[must_use]
    pub fn pause_after(&self, failures: u16) -> Duration {
        let doubled = 1 << u32::from(failures.saturating_sub(1)).min(16);
        self.backoff.saturating_mul(doubled).min(BACKOFF_MAX)
    }

    /// The same as arguments.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        if !self.is_any() {
            return Vec::new();
        }
        let seconds = |time: Duration| OsString::from(time.as_secs_f64().to_string());
        let mut args = vec!["--retries".into(), self.retries.to_string().into()];
        args.extend(["--backoff".into(), seconds(self.backoff)]);
        args.extend(["--grace".into(), seconds(self.grace)]);
        args.extend(self.timeout.into_iter().flat_map(|time| ["--timeout".into(), seconds(time)]));
        let joblog = self
            .joblog
            .iter()
            .map(|path| OsString::from_iter(["--joblog=".as_ref(), path.as_os_str()]));
        args.extend(joblog);
        args.extend(self.lines.then(|| "--lines".into()));
        args.push("--".into());
        args.extend(self.command.iter().cloned());
        args
    }

    /// An error if COMMAND cannot be started as things are now: said once, before anything is begun.
    pub fn check(&self) -> Result<(), Error> {
        let Some(program) = self.command.first() else {
            // `-- $COMMAND` of a script, where that is empty: nothing would be done with what is counted as done.
            let is_missing = env::args_os().next_back().is_some_and(|last| last == "--");
            let why = "there is none behind `--`".to_owned();
            return if is_missing {
                Err(Error::NoCommand { command: "COMMAND".into(), why })
            } else {
                Ok(())
            };
        };
        if program.is_empty() {
            let why = "its name is empty".to_owned();
            return Err(Error::NoCommand { command: "''".into(), why });
        }
        let can_run = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
        let name = Path::new(program);
        if name.components().count() > 1
            || name.is_absolute()
            || program.as_encoded_bytes().contains(&b'/')
        {
            let why = match name.metadata() {
                Ok(_) if can_run(name) => return Ok(()),
                Ok(_) => "it is not a program that you may execute (`chmod +x`)".to_owned(),
                Err(error) => error.to_string(),
            };
            return Err(Error::NoCommand { command: name.to_owned(), why });
        }
        let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
        if env::split_paths(&path).any(|dir| can_run(&dir.join(name))) {
            return Ok(());
        }
        let here = can_run(name);
        let why = if here {
            "it is not in PATH; for the one here write ./ in front"
        } else {
            "it is not in PATH"
        };
        Err(Error::NoCommand { command: name.to_owned(), why: why.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use rstest::rstest;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        work: Work,
    }

    fn parse(args: &[&str]) -> Option<Work> {
        Args::try_parse_from([&["x"], args].concat()).ok().map(|args| args.work)
    }

    #[rstest]
    #[case(&["--", "a", "{}"])]
    #[case(&["--lines", "--retries", "3", "--backoff", "0.25", "--timeout", "2m", "--grace=0", "--joblog=-x y",
             "--", "a", "--", "-b", ""])]
    fn a_worker_gets_what_the_balancer_got(#[case] args: &[&str]) {
        let work = parse(args).unwrap();
        let again = Args::try_parse_from([vec!["x".into()], work.to_args()].concat()).unwrap().work;
        assert_eq!(format!("{again:?}"), format!("{work:?}"));
    }

    #[rstest]
    #[case(&["--retries", "3"])]
    #[case(&["--lines"])]
    #[case(&["--timeout", "x", "--", "a"])]
    #[case(&["--timeout", "1e300", "--", "a"])]
    #[case(&["--backoff", "-1", "--", "a"])]
    #[case(&["--retries", "10001", "--", "a"])]
    fn what_does_not_apply_is_refused(#[case] args: &[&str]) {
        assert!(parse(args).is_none());
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let work = parse(&["--backoff", "4", "--", "a"]).unwrap();
        let pauses = [1, 2, 3, 4, 5, 6, u16::MAX].map(|n| work.pause_after(n).as_secs());
        assert_eq!(pauses, [4, 8, 16, 32, 60, 60, 60]);
    }
}
