//! What is played: a few ways of using the system that differ in who does what when.

use super::role::Role;

/// One of them. Everyone runs to the end; whoever is killed is started again as a person would.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) workers: u32,
    /// One client each, one after the other.
    pub(crate) submissions: &'static [&'static str],
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
}

const ONE: Scenario = Scenario {
    name: "one-1",
    about: "the sample with one worker",
    workers: 1,
    submissions: &["Halo A;10"],
    serve: false,
    by_hand: false,
    balancer_first: false,
    client: Some(1),
    recovery: Role::Balancer,
    stride: 8,
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
        submissions: &["Halo A;2"],
        ..ONE
    },
    Scenario {
        name: "two",
        about: "three submissions, the second one's client killed; recovery by the third one's",
        workers: 2,
        submissions: &["Halo A;10", "Halo B;4", "Halo C;3"],
        client: Some(2),
        recovery: Role::Client(3),
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
        submissions: &["Halo A;40", "Halo B;4"],
        serve: true,
        balancer_first: true,
        client: Some(2),
        ..ONE
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
        self.client.map(Role::Client).into_iter().chain([Role::Balancer]).chain(workers).collect()
    }

    /// The program and the arguments of a role, as a person types them.
    pub(crate) fn command(&self, role: Role) -> (&'static str, Vec<String>) {
        match role {
            Role::Client(i) => ("client", vec![self.submissions[i as usize - 1].to_owned()]),
            Role::Worker(k) => ("worker", vec![k.to_string()]),
            Role::Balancer => {
                let mut arguments = Vec::new();
                if self.serve {
                    arguments.push("--serve".to_owned());
                }
                if self.by_hand {
                    arguments.push("--no-spawn".to_owned());
                }
                arguments.push(self.workers.to_string());
                ("loadbalancer", arguments)
            }
        }
    }
}
