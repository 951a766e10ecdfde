//! A round: a fault, for some time, and then everybody must go on.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::failure::{Failure, until, when};
use crate::host;
use crate::plan::{Fault, Kind};
use crate::site::Site;

/// How long may pass until anybody, or later everybody, goes on.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long two holders of the same workers can see each other.
const TOGETHER: Duration = Duration::from_secs(1);

/// Plays it. Returns the time from the fault until a submission is accepted that was given after it.
pub(crate) fn play(site: &mut Site, fault: &Fault) -> Result<Duration, Failure> {
    thread::sleep(fault.before);
    inflict(site, fault)?;
    let begun = site.record.mark();
    thread::sleep(fault.held);
    // Sought before the next mark, which forgets it.
    let already = site.record.first();
    if already.is_some() {
        site.record.mark();
    }
    heal(site, fault)?;
    let first = match already {
        Some(first) => first,
        None => until(PATIENCE, "a submission is accepted after the fault", || {
            site.mend()?;
            Ok(site.record.first())
        })?,
    };
    await_everybody(site)?;
    Ok(first - begun)
}

fn inflict(site: &mut Site, fault: &Fault) -> Result<(), Failure> {
    let host = site.host(fault.host);
    match fault.kind {
        Kind::KillHost => site.kill_host(fault.host)?,
        Kind::KillServer => host::kill_alone(&mut host.server)?,
        Kind::StopServer => host::signal(host.server.as_ref(), Signal::SIGSTOP),
        Kind::EndServer => host::end("a server", &mut host.server, Signal::SIGINT)?,
        Kind::KillBalancer => host::kill_alone(&mut host.balancer)?,
        Kind::KillWorkers => host.kill_workers(),
        Kind::CutOff | Kind::TakeOver => {
            if let Some(network) = &host.network {
                network.cut()?;
            }
        }
        Kind::FillDisk => {
            if let Some(disk) = &host.disk {
                disk.fill()?;
            }
        }
    }
    if fault.kind == Kind::TakeOver {
        site.start_helper(fault.other, fault.host)?;
    }
    Ok(())
}

fn heal(site: &mut Site, fault: &Fault) -> Result<(), Failure> {
    let host = site.host(fault.host);
    match fault.kind {
        Kind::StopServer => host::signal(host.server.as_ref(), Signal::SIGCONT),
        Kind::CutOff | Kind::TakeOver => {
            if let Some(network) = &host.network {
                network.join()?;
            }
        }
        Kind::FillDisk => {
            if let Some(disk) = &host.disk {
                disk.free()?;
            }
            // Once its disk was full, a server stores nothing until it is started again.
            host::end("a server", &mut host.server, Signal::SIGINT)?;
        }
        // What does not run is started below.
        _ => {}
    }
    if fault.kind == Kind::TakeOver {
        // The old holder is back, and does not know yet. Then the workers are given back to its host.
        thread::sleep(TOGETHER);
        host::end(
            "the balancer that took over",
            &mut site.host(fault.other).helper,
            Signal::SIGTERM,
        )?;
        host::end(
            "the balancer that was cut off",
            &mut site.host(fault.host).balancer,
            Signal::SIGTERM,
        )?;
    }
    site.mend()
}

/// Every client has a submission accepted that was given later, every host's log shows that more is executed, and every
/// server is up to date.
fn await_everybody(site: &mut Site) -> Result<(), Failure> {
    let lens: Vec<_> = site.hosts.iter().map(host::Host::log_len).collect();
    let mut executes = vec![false; lens.len()];
    let outcome = until(PATIENCE, "everybody goes on", || {
        site.mend()?;
        for ((host, len), executes) in site.hosts.iter().zip(&lens).zip(&mut executes) {
            *executes = *executes || host.logs_executed(*len);
        }
        let is_well = site.record.waiting().is_empty() && !executes.contains(&false);
        // Servers are asked last: each look at them is a line of theirs.
        Ok(when(is_well && site.hosts.iter().all(|host| host.addresses.is_healthy())))
    });
    outcome.map_err(|failure| match failure {
        Failure::Broken(what) => {
            let clients = site.record.waiting();
            let healthy = site.hosts.iter().map(|host| host.addresses.is_healthy());
            let healthy: Vec<_> = healthy.collect();
            Failure::Broken(format!(
                "{what}; clients that wait: {clients:?}; hosts that log what is executed: {executes:?}; servers are \
                 healthy: {healthy:?}"
            ))
        }
        failure => failure,
    })
}
