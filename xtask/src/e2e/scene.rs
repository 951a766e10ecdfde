//! One run of the whole system in a temp directory: who is started when, and how each one ended.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use common::dead;
use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use common::program::work::Work;
use nix::sys::signal::Signal;
use serde::Serialize;
use tests::{Binaries, Ended, Process, Sandbox};

/// How it is called among those that were started.
pub(super) const BALANCER: &str = "loadbalancer";

/// Who is there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// The clients submit before the load balancer is started.
    ClientFirst,
    /// The clients come when the load balancer is running.
    LbFirst,
}

/// What to run.
#[derive(Debug)]
pub(super) struct RunPlan<'a> {
    pub(super) binaries: &'a Binaries,
    pub(super) workers: Workers,
    pub(super) inputs: &'a [Submission],
    pub(super) clients: usize,
    pub(super) order: Order,
    /// Workers are started here, not by the load balancer.
    pub(super) hand_started: bool,
    /// What the workers do with each message.
    pub(super) work: Work,
    /// Seconds that a run may take, if it was given.
    pub(super) limit: Option<u64>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    pub(super) clients: Vec<Ended>,
    /// Every client had ended before anything else was started.
    pub(super) clients_first: bool,
    /// The load balancer, and workers started here.
    pub(super) others: Vec<Ended>,
    /// Those that had to be killed when the time was up.
    pub(super) late: Vec<String>,
    /// IPC objects, processes and files that were there after the end.
    pub(super) leftovers: Vec<String>,
    pub(super) duration: Duration,
}

impl RunPlan<'_> {
    /// Of all clients.
    pub(super) fn messages(&self) -> u64 {
        let input: u64 = self.inputs.iter().map(|input| u64::from(input.count())).sum();
        input * self.clients as u64
    }

    /// How long a run may take.
    pub(super) fn limit(&self) -> Duration {
        let per_second_min = if self.work.is_any() { 1 } else { 100_000 };
        Duration::from_secs(self.limit.unwrap_or(60 + self.messages() / per_second_min))
    }

    /// Plays it to its end, or until the time is up.
    pub(super) fn play(&self, sandbox: Sandbox) -> Scene {
        let start = Instant::now();
        let deadline = start + self.limit();
        let (mut clients, mut others);
        let mut clients_first = false;
        match self.order {
            Order::ClientFirst => {
                clients = self.start_clients(&sandbox);
                // A full ledger makes clients wait for the load balancer, and say so.
                poll(deadline, || {
                    clients
                        .iter_mut()
                        .all(|client| !client.is_running() || client.stderr().contains("waiting: "))
                });
                clients_first = clients.iter_mut().all(|client| !client.is_running());
                others = self.start_others(&sandbox);
            }
            Order::LbFirst => {
                others = self.start_others(&sandbox);
                // From then on it heeds signals.
                poll(deadline, || sandbox.has_balancer() || !others[0].is_running());
                clients = self.start_clients(&sandbox);
            }
        }
        let mut late = Vec::new();
        let clients = wait(clients, deadline, &mut late);
        if self.drains() {
            others[0].signal(Signal::SIGTERM);
        }
        let others = wait(others, deadline, &mut late);
        let duration = start.elapsed();
        let mut leftovers = sandbox.leftovers();
        // It tells of dead messages, as the log of the others.
        leftovers.retain(|left| !self.work.is_any() || *left != format!("file {}", dead::NAME));
        Scene { sandbox, clients, clients_first, others, late, leftovers, duration }
    }

    /// With several clients to come, the load balancer must not end after the first one.
    fn drains(&self) -> bool {
        self.order == Order::LbFirst && self.clients > 1
    }

    fn start_clients(&self, sandbox: &Sandbox) -> Vec<Process> {
        let inputs: Vec<String> = self.inputs.iter().map(ToString::to_string).collect();
        // `--`: a text may begin with a dash.
        let args: Vec<&str> = ["--"].into_iter().chain(inputs.iter().map(String::as_str)).collect();
        let client = || sandbox.command("client", &args);
        (1..=self.clients)
            .map(|i| sandbox.start_command(client(), &format!("client {i}")))
            .collect()
    }

    fn start_others(&self, sandbox: &Sandbox) -> Vec<Process> {
        let work = self.work.to_args();
        let workers = self.workers.to_string();
        let mut args = vec![workers.as_str()];
        args.extend(self.hand_started.then_some("--no-spawn"));
        args.extend(self.drains().then_some("--serve"));
        let mut balancer = sandbox.command(BALANCER, &args);
        // Who starts the workers says what they do.
        if !self.hand_started {
            balancer.args(&work);
            return vec![sandbox.start_command(balancer, BALANCER)];
        }
        let worker = |worker: WorkerId| {
            let mut command = sandbox.command("worker", &[&worker.to_string()]);
            command.args(&work);
            sandbox.start_command(command, &format!("worker {worker}"))
        };
        let balancer = sandbox.start_command(balancer, BALANCER);
        [balancer].into_iter().chain(self.workers.ids().map(worker)).collect()
    }
}

/// Waits until a condition holds, or the time is up.
fn poll(deadline: Instant, mut condition: impl FnMut() -> bool) {
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for processes, and kills those that have not ended when the time is up. Returns how the others have ended.
fn wait(processes: Vec<Process>, deadline: Instant, late: &mut Vec<String>) -> Vec<Ended> {
    let end = |mut process: Process| {
        let ended = process.wait(deadline.saturating_duration_since(Instant::now()));
        if ended.is_none() {
            process.kill();
            late.extend(process.wait(Duration::ZERO).map(|killed| killed.name));
        }
        ended
    };
    processes.into_iter().filter_map(end).collect()
}
