//! What is played: a few ways of using the system that differ in who does what when.

use super::role::Role;
use super::work::Work;
use crate::handler::Deed;

/// One of them. Everyone runs to the end; whoever is killed is started again as a person would.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) workers: u32,
    /// What each client submits, one after the other: a line for each of its submissions, which are accepted together.
    pub(crate) clients: &'static [&'static str],
    /// The load balancer runs with `--serve`, and is asked to drain once everything is logged.
    pub(crate) serve: bool,
    /// The workers are started by hand.
    pub(crate) by_hand: bool,
    /// The clients come when the load balancer is ready, instead of being gone before it comes.
    pub(crate) balancer_first: bool,
    /// Which client is killed, if any.
    pub(crate) client: Option<u32>,
    /// Who is killed a second time, while it recovers from the first kill.
    pub(crate) recovery: Role,
    /// The quick set tries one in so many calls.
    pub(crate) stride: u32,
    /// What workers do with messages, if anything.
    pub(crate) work: Option<Work>,
    /// Who renames the log, if anybody.
    pub(crate) rotation: Option<Rotation>,
}

/// Who renames the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// The load balancer, after each session.
    BySize,
    /// `lbctl rotate`, in the end.
    ByHand,
}

const ONE: Scenario = Scenario {
    name: "one-1",
    about: "the sample with one worker",
    workers: 1,
    clients: &["Halo A;10"],
    serve: false,
    by_hand: false,
    balancer_first: false,
    client: Some(1),
    recovery: Role::Balancer,
    stride: 8,
    work: None,
    rotation: None,
};

/// Where messages are executed. The log's transactions are those of the others, so of its calls fewer are tried.
const WORK: Scenario = Scenario {
    name: "work",
    about: "COMMAND once for each message, which succeeds",
    workers: 2,
    clients: &["Halo A;4"],
    stride: 32,
    work: Some(ONCE),
    ..ONE
};

/// With retries for what a kill of COMMAND costs.
const ONCE: Work = Work {
    lines: false,
    options: &["--retries=2", "--backoff=5ms", "--grace=1s"],
    deeds: &[],
    letters: &[],
};

/// All scenarios.
pub(crate) const SCENARIOS: &[Scenario] = &[
    ONE,
    Scenario { name: "one-2", about: "the sample with two workers", workers: 2, ..ONE },
    Scenario { name: "one-3", about: "the sample with three workers", workers: 3, ..ONE },
    Scenario {
        name: "totals",
        about: "fewer messages than workers",
        workers: 3,
        clients: &["Halo A;2"],
        ..ONE
    },
    Scenario {
        name: "two",
        about: "three submissions, the second one's client killed; recovery by the third one's",
        workers: 2,
        clients: &["Halo A;10", "Halo B;4", "Halo C;3"],
        client: Some(2),
        recovery: Role::Client(3),
        ..ONE
    },
    Scenario {
        name: "file",
        about: "a client submits several at once, most of one message",
        workers: 2,
        clients: &["Halo A;1\nHalo B;1\nHalo C;3\nHalo D;1\nHalo E;1"],
        ..ONE
    },
    Scenario {
        name: "files",
        about: "the same by two clients, the second one killed while the first one's are processed",
        workers: 2,
        clients: &["Halo A;1\nHalo B;1\nHalo C;3", "Halo D;1\nHalo E;2\nHalo F;1"],
        serve: true,
        balancer_first: true,
        client: Some(2),
        stride: 16,
        ..ONE
    },
    Scenario {
        name: "first",
        about: "the load balancer comes first",
        workers: 2,
        balancer_first: true,
        ..ONE
    },
    Scenario {
        name: "hand",
        about: "workers by hand, before the load balancer, before the client",
        workers: 2,
        by_hand: true,
        balancer_first: true,
        recovery: Role::Worker(1),
        ..ONE
    },
    Scenario {
        name: "serve",
        about: "--serve, drained by a signal",
        workers: 2,
        serve: true,
        ..ONE
    },
    Scenario {
        name: "live",
        about: "--serve, a second client killed while the first one's messages are processed",
        workers: 2,
        clients: &["Halo A;40", "Halo B;4"],
        serve: true,
        balancer_first: true,
        client: Some(2),
        ..ONE
    },
    Scenario {
        name: "rotate",
        about: "--rotate after each session; the second client comes while the log is renamed",
        workers: 2,
        clients: &["Halo A;4", "Halo B;3"],
        serve: true,
        balancer_first: true,
        client: Some(2),
        stride: 16,
        rotation: Some(Rotation::BySize),
        ..ONE
    },
    Scenario {
        name: "rotate-2",
        about: "the same with workers by hand, which live through it",
        by_hand: true,
        workers: 2,
        clients: &["Halo A;4", "Halo B;3"],
        serve: true,
        balancer_first: true,
        client: None,
        recovery: Role::Worker(1),
        stride: 32,
        rotation: Some(Rotation::BySize),
        ..ONE
    },
    Scenario {
        name: "rotate-3",
        about: "`lbctl rotate` after the load balancer's end",
        clients: &["Halo A;4"],
        client: None,
        stride: 4,
        rotation: Some(Rotation::ByHand),
        ..ONE
    },
    WORK,
    Scenario {
        name: "retry",
        about: "COMMAND fails at two messages' first attempts",
        work: Some(Work { deeds: &[(1, Deed::Fails), (4, Deed::Fails)], ..ONCE }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "dead",
        about: "COMMAND gives one message up (exit code 65), and fails at another for the last time",
        work: Some(Work {
            deeds: &[(1, Deed::Dead), (4, Deed::Never)],
            letters: &[(1, "exit code 65"), (4, "exit code 1")],
            ..ONCE
        }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "timeout",
        about: "COMMAND takes too long at a message's first attempt",
        clients: &["Halo A;3"],
        work: Some(Work {
            // A busy machine may make any attempt take too long.
            options: &["--retries=9", "--backoff=1ms", "--grace=1s", "--timeout=100ms"],
            deeds: &[(1, Deed::Hangs)],
            ..ONCE
        }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "leaves",
        about: "COMMAND leaves a process, once with a failure and once with a success",
        clients: &["Halo A;3"],
        work: Some(Work { deeds: &[(1, Deed::Leaves)], ..ONCE }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "poison",
        about: "COMMAND kills its worker in each attempt of a message",
        clients: &["Halo A;3"],
        work: Some(Work {
            deeds: &[(2, Deed::Kills)],
            letters: &[(2, "its worker died in it for the third time")],
            ..ONCE
        }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "poison-2",
        about: "the same with --lines",
        clients: &["Halo A;4"],
        work: Some(Work {
            lines: true,
            deeds: &[(4, Deed::Kills)],
            letters: &[(4, "its worker died in it for the third time")],
            ..ONCE
        }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "lines",
        about: "--lines, all answered with ok",
        clients: &["Halo A;6"],
        work: Some(Work { lines: true, ..ONCE }),
        client: None,
        ..WORK
    },
    Scenario {
        name: "answers",
        about: "--lines, one answered with retry, one with dead, and one with COMMAND's end",
        clients: &["Halo A;6"],
        work: Some(Work {
            lines: true,
            deeds: &[(1, Deed::Fails), (2, Deed::Ends), (4, Deed::Dead)],
            letters: &[(4, "dead: it can never be done")],
            ..ONCE
        }),
        client: None,
        ..WORK
    },
];

impl Scenario {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Everyone who is killed in it.
    pub(crate) fn roles(&self) -> Vec<Role> {
        let workers = (1..=self.workers).map(Role::Worker);
        let handlers = (1..=self.workers).filter(|_| self.work.is_some()).map(Role::Handler);
        let client = self.client.map(Role::Client);
        if self.rotation == Some(Rotation::ByHand) {
            return vec![Role::Rotator]; // the others are those of other scenarios
        }
        client.into_iter().chain([Role::Balancer]).chain(workers).chain(handlers).collect()
    }

    /// The same without a COMMAND, which must make no difference to the log.
    pub(crate) fn without_work(&self) -> Self {
        Self { work: None, ..*self }
    }

    /// What a load balancer ends with that has seen the session's end.
    pub(crate) fn code(&self, role: Role) -> i32 {
        i32::from(role == Role::Balancer && self.work.is_some_and(|work| work.has_letters()))
    }

    /// Of all clients.
    pub(crate) fn submissions(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.clients.iter().flat_map(|client| client.lines())
    }

    /// All messages of all submissions.
    pub(crate) fn messages(&self) -> u32 {
        let counts = self.submissions().filter_map(|submission| submission.rsplit_once(';'));
        counts.filter_map(|(_, count)| count.parse::<u32>().ok()).sum()
    }

    /// The program and the arguments of a role, as a person types them.
    pub(crate) fn command(&self, role: Role) -> (&'static str, Vec<String>) {
        match role {
            Role::Client(i) => {
                ("client", self.clients[i as usize - 1].lines().map(str::to_owned).collect())
            }
            Role::Worker(k) => ("worker", vec![k.to_string()]),
            Role::Handler(_) => unreachable!("workers start it"),
            Role::Rotator => ("lbctl", vec!["rotate".to_owned()]),
            Role::Balancer => {
                let mut arguments = Vec::new();
                if self.serve {
                    arguments.push("--serve".to_owned());
                }
                if self.rotation == Some(Rotation::BySize) {
                    arguments.push("--rotate=1".to_owned());
                }
                if self.by_hand {
                    arguments.push("--no-spawn".to_owned());
                }
                let (options, command) = self.work.map(|work| work.arguments()).unwrap_or_default();
                arguments.extend(options);
                arguments.push(self.workers.to_string());
                arguments.extend(command);
                ("loadbalancer", arguments)
            }
        }
    }
}
