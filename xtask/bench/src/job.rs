//! Our whole job: `client` and `loadbalancer N`, which starts its workers, from the client's start to
//! the totals. With a file of lines there may be several clients.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::Sandbox;

use super::case::{Case, Shape};
use super::failure::Failure;
use super::judge;
use super::launch::{Launched, launch};
use super::texts::{Texts, parts};

/// The commands of a job, ready to be started in the sandbox.
pub(super) struct Job {
    pub(super) clients: Vec<Command>,
    pub(super) balancer: Command,
    case: Case,
    log: PathBuf,
}

impl Job {
    /// A case's job. What the client prints for each accepted submission is printed, to nobody.
    pub(super) fn new(sandbox: &Sandbox, case: Case) -> Result<Self, Failure> {
        Self::wrapped(sandbox, case, |command| command)
    }

    /// The same, by way of another program that starts it.
    pub(super) fn wrapped(
        sandbox: &Sandbox,
        case: Case,
        wrap: impl Fn(Command) -> Command,
    ) -> Result<Self, Failure> {
        let client = |args: &[&str]| {
            let mut client = wrap(sandbox.command("client", args));
            client.stdout(Stdio::null());
            client
        };
        let clients = match case.shape {
            Shape::Many => vec![client(&[&format!("{};{}", case.text(), case.messages)])],
            Shape::Lines { clients } => {
                let texts = Texts::new(case.lens);
                let reading = |part| {
                    let mut client = client(&[]);
                    client.stdin(texts.file(part).map_err(Failure::system("a temp file"))?);
                    Ok(client)
                };
                parts(case.messages, clients).map(reading).collect::<Result<_, _>>()?
            }
        };
        let balancer = wrap(sandbox.command("loadbalancer", &[&case.workers.get().to_string()]));
        Ok(Self { clients, balancer, case, log: sandbox.log_path() })
    }

    /// Starts all at once; the time until the balancer, which waits for its workers, has ended. It does not end
    /// while a client has lines: by the time that it has started its workers, all clients are there. Then its log is
    /// judged.
    pub(super) fn run(self) -> Result<Duration, Failure> {
        let start = Instant::now();
        let clients = self.clients.into_iter().map(launch).collect::<Result<Vec<_>, _>>()?;
        let balancer = launch(self.balancer)?;
        balancer.finish()?;
        let took = start.elapsed();
        clients.into_iter().try_for_each(Launched::finish)?;
        judge::canonical(&self.log, &self.case)?;
        Ok(took)
    }
}
