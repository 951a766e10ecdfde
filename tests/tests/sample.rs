//! The sample of the README, byte for byte, in every way of starting it.
#![forbid(unsafe_code)]

use rstest::rstest;
use tests::Sandbox;

/// What the log holds after `Halo A;10` with 3 workers.
const SAMPLE: &str = include_str!("sample.log");

#[test]
fn client_first_and_gone() {
    let sandbox = Sandbox::default();
    assert_eq!(sandbox.ok("client", &["Halo A;10"]).stdout, "accepted Halo A;10\n");
    sandbox.ok("loadbalancer", &["3"]);
    assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
    sandbox.assert_clean();
}

#[test]
fn balancer_first() {
    let sandbox = Sandbox::default();
    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    sandbox.wait_until("its workers run", || sandbox.has_worker(3));
    sandbox.ok("client", &["Halo A;10"]);
    let ended = sandbox.end(&mut balancer);
    sandbox.assert_code(&ended, 0);
    assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
    sandbox.assert_clean();
}

#[rstest]
#[case::workers_first(&["worker", "client", "balancer"])]
#[case::workers_last(&["client", "balancer", "worker"])]
#[case::balancer_first(&["balancer", "worker", "client"])]
fn workers_by_hand(#[case] order: &[&str]) {
    let sandbox = Sandbox::default();
    let mut running = Vec::new();
    for what in order {
        match *what {
            "worker" => running.extend(["1", "2", "3"].map(|k| sandbox.start("worker", &[k]))),
            "balancer" => running.push(sandbox.start("loadbalancer", &["--no-spawn", "3"])),
            _ => drop(sandbox.ok("client", &["Halo A;10"])),
        }
    }
    for process in &mut running {
        let ended = sandbox.end(process);
        sandbox.assert_code(&ended, 0);
    }
    assert_eq!(sandbox.log(), SAMPLE, "{}", sandbox.report());
    sandbox.assert_clean();
}
