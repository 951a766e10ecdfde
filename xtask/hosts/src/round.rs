//! A round: a fault, for some time, and then everybody must go on.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::failure::{Failure, until, when};
use crate::host;
use crate::plan::{Fault, Kind};
use crate::site::Site;

/// How long may pass until anybody, or later everybody, goes on.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long two holders of the same workers can see each other.
const TOGETHER: Duration = Duration::from_secs(1);
/// A program is started for each look at the stream.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Plays it. Returns the time from the fault until a submission is accepted that was given after it.
pub(crate) fn play(site: &mut Site, fault: &Fault) -> Result<Duration, Failure> {
    thread::sleep(fault.before);
    inflict(site, fault)?;
    let begun = site.record.mark();
    thread::sleep(fault.held);
    // Sought before the next mark, which forgets it.
    let already = site.record.first();
    let healed = if already.is_some() { site.record.mark() } else { begun };
    heal(site, fault)?;
    let first = match already {
        Some(first) => first,
        None => until(PATIENCE, "a submission is accepted after the fault", || {
            site.mend()?;
            Ok(site.record.first())
        })?,
    };
    await_everybody(site, healed)?;
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

/// Every client has a submission accepted that was given later, more is executed, every host's log grows, and every
/// server is up to date.
fn await_everybody(site: &mut Site, since: Instant) -> Result<(), Failure> {
    let lens: Vec<_> = site.hosts.iter().map(host::Host::log_len).collect();
    let mut executed = None;
    let mut looked = since;
    let waiting = |site: &Site, goes_on: bool| {
        let clients = site.record.waiting();
        let logs = site.hosts.iter().zip(&lens).filter(|(host, len)| host.log_len() <= **len);
        let logs: Vec<_> = logs.map(|(host, _)| host.number).collect();
        // Servers are asked last: each look at them is a line of theirs.
        let ill = |host: &&host::Host| !host.addresses.is_healthy();
        if clients.is_empty() && logs.is_empty() && goes_on && !site.hosts.iter().any(|it| ill(&it))
        {
            return None;
        }
        Some((clients, logs, goes_on))
    };
    let mut goes_on = false;
    let outcome = until(PATIENCE, "everybody goes on", || {
        site.mend()?;
        if !goes_on && looked.elapsed() > BETWEEN_LOOKS {
            if let Some(status) = site.status()? {
                goes_on = executed.is_some_and(|before| status.executed > before);
                executed = executed.or(Some(status.executed));
            }
            looked = Instant::now();
        }
        Ok(when(waiting(site, goes_on).is_none()))
    });
    outcome.map_err(|failure| match (failure, waiting(site, goes_on)) {
        (Failure::Broken(what), Some((clients, logs, goes_on))) => {
            let executed = if goes_on { "more is executed" } else { "nothing more is executed" };
            let healthy = site.hosts.iter().map(|host| host.addresses.is_healthy());
            let healthy: Vec<_> = healthy.collect();
            Failure::Broken(format!(
                "{what}; waited for clients {clients:?}, logs of hosts {logs:?}; {executed}; servers are healthy: {healthy:?}"
            ))
        }
        (failure, _) => failure,
    })
}
