//! Our whole job: `client` and `loadbalancer N`, which starts its workers, from the client's start to
//! the totals.

use std::fs::File;
use std::io::{Seek, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::Sandbox;

use super::case::{Case, Shape};
use super::failure::Failure;
use super::launch::launch;

/// The two commands of a job, ready to be started in the sandbox.
pub(super) struct Job {
    pub(super) client: Command,
    pub(super) balancer: Command,
}

impl Job {
    /// A case's job. What the client prints for each accepted submission is printed, to nobody.
    pub(super) fn new(sandbox: &Sandbox, case: &Case) -> Result<Self, Failure> {
        Self::wrapped(sandbox, case, |command| command)
    }

    /// The same, by way of another program that starts it.
    pub(super) fn wrapped(
        sandbox: &Sandbox,
        case: &Case,
        wrap: impl Fn(Command) -> Command,
    ) -> Result<Self, Failure> {
        let (text, messages) = (case.text(), case.messages);
        let mut client = match case.shape {
            Shape::Many => wrap(sandbox.command("client", &[&format!("{text};{messages}")])),
            Shape::Singles => {
                let input = lines(&format!("{text};1\n"), messages)
                    .map_err(Failure::system("a temp file"))?;
                let mut client = wrap(sandbox.command("client", &[]));
                client.stdin(input);
                client
            }
        };
        client.stdout(Stdio::null());
        let balancer = wrap(sandbox.command("loadbalancer", &[&case.workers.get().to_string()]));
        Ok(Self { client, balancer })
    }

    /// Starts both at once; the time until the balancer, which waits for its workers, has ended.
    pub(super) fn run(self) -> Result<Duration, Failure> {
        let start = Instant::now();
        let client = launch(self.client)?;
        let balancer = launch(self.balancer)?;
        balancer.finish()?;
        let took = start.elapsed();
        client.finish()?;
        Ok(took)
    }
}

/// A file with the same line so many times, to be read from the start.
pub(super) fn lines(line: &str, times: u32) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(line.repeat(times as usize).as_bytes())?;
    file.rewind()?;
    Ok(file)
}
