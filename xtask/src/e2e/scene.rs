//! One run of the whole system in a temp directory: who is started when, and how each one ended.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use common::dead;
use common::grammar::rotation::Workers;
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
    pub(super) limit: Duration,
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
    /// Plays it to its end, or until the time is up.
    pub(super) fn play(&self, sandbox: Sandbox) -> Scene {
        let start = Instant::now();
        let deadline = start + self.limit;
        let (mut clients, mut others);
        let mut clients_first = false;
        match self.order {
            Order::ClientFirst => {
                clients = self.start_clients(&sandbox);
                // A full ledger makes clients wait for the load balancer, and say so.
                poll(deadline, || {
                    clients.iter_mut().all(|(_, client)| {
                        !client.is_running() || client.stderr().contains("waiting: ")
                    })
                });
                clients_first = clients.iter_mut().all(|(_, client)| !client.is_running());
                others = self.start_others(&sandbox);
            }
            Order::LbFirst => {
                others = self.start_others(&sandbox);
                // From then on it heeds signals.
                poll(deadline, || sandbox.has_balancer() || !others[0].1.is_running());
                clients = self.start_clients(&sandbox);
            }
        }
        let (mut late, mut ended_clients, mut ended_others) = (Vec::new(), Vec::new(), Vec::new());
        wait(&mut clients, deadline, &mut ended_clients, &mut late);
        if self.drains() {
            others[0].1.signal(Signal::SIGTERM);
        }
        wait(&mut others, deadline, &mut ended_others, &mut late);
        let duration = start.elapsed();
        let mut leftovers = sandbox.leftovers();
        // It tells of dead messages, as the log of the others.
        leftovers.retain(|left| !self.work.is_any() || *left != format!("file {}", dead::NAME));
        Scene {
            sandbox,
            clients: ended_clients,
            clients_first,
            others: ended_others,
            late,
            leftovers,
            duration,
        }
    }

    /// With several clients to come, the load balancer must not end after the first one.
    fn drains(&self) -> bool {
        self.order == Order::LbFirst && self.clients > 1
    }

    fn start_clients(&self, sandbox: &Sandbox) -> Vec<(String, Process)> {
        let inputs: Vec<String> = self.inputs.iter().map(ToString::to_string).collect();
        // `--`: a text may begin with a dash.
        let args: Vec<&str> = ["--"].into_iter().chain(inputs.iter().map(String::as_str)).collect();
        (1..=self.clients)
            .map(|i| (format!("client {i}"), sandbox.start("client", &args)))
            .collect()
    }

    fn start_others(&self, sandbox: &Sandbox) -> Vec<(String, Process)> {
        let work = self.work.to_args();
        let start = |program: &str, args: &[&str], work: &[OsString]| {
            let mut command = sandbox.command(program, args);
            command.args(work);
            sandbox.start_command(command, program)
        };
        let workers = self.workers.to_string();
        let mut args = vec![workers.as_str()];
        args.extend(self.hand_started.then_some("--no-spawn"));
        args.extend(self.drains().then_some("--serve"));
        // Who starts the workers says what they do.
        let (balancers, workers_own) =
            if self.hand_started { (&[][..], &work[..]) } else { (&work[..], &[][..]) };
        let mut started = vec![(BALANCER.to_owned(), start(BALANCER, &args, balancers))];
        if self.hand_started {
            started.extend(self.workers.ids().map(|worker| {
                let k = worker.to_string();
                (format!("worker {k}"), start("worker", &[&k], workers_own))
            }));
        }
        started
    }
}

/// Waits until a condition holds, or the time is up.
fn poll(deadline: Instant, mut condition: impl FnMut() -> bool) {
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for processes, and kills those that have not ended when the time is up.
fn wait(
    processes: &mut Vec<(String, Process)>,
    deadline: Instant,
    ended: &mut Vec<Ended>,
    late: &mut Vec<String>,
) {
    for (name, process) in processes {
        if let Some(end) = process.wait(deadline.saturating_duration_since(Instant::now())) {
            ended.push(Ended { name: name.clone(), ..end });
        } else {
            process.kill();
            late.push(name.clone());
        }
    }
}
