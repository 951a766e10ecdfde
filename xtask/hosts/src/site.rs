//! Three hosts and four clients, and what a person would do with them: start what does not run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::program::children;
use nix::sys::signal::Signal;

use crate::disk::Disk;
use crate::failure::{Failure, until, when};
use crate::handler;
use crate::host::{self, DISK, Host, directory};
use crate::load::{CLIENTS, Client, Record};
use crate::network::{self, Network};
use crate::place::{PROGRAM, Place};
use crate::server::{self, Addresses};
use crate::stream;

/// How many hosts there are.
pub(crate) const HOSTS: u8 = 3;
/// How many workers: host h starts h and h + 3.
pub(crate) const WORKERS: u8 = 2 * HOSTS;
/// The stream's name.
const INSTANCE: &str = "hosts";
/// What was killed, and is waited for, may take so long.
const LOOK: Duration = Duration::from_secs(15);
/// All of the stream is read.
const READ_ALL: Duration = Duration::from_secs(300);
/// How long servers may take until they are ready.
const READY: Duration = Duration::from_secs(60);

/// All of it.
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) hosts: Vec<Host>,
    pub(crate) clients: Vec<Client>,
    pub(crate) record: Record,
    /// How often what has ended by itself, and was started again.
    pub(crate) ended: BTreeMap<String, u64>,
}

impl Site {
    /// Makes the hosts, with nothing on them.
    pub(crate) fn new(place: Place, seed: u64) -> Result<Self, Failure> {
        if place.networks {
            network::make_switch()?;
        }
        let addresses = if place.networks {
            (1..=HOSTS).map(|number| Addresses::on(network::address(number))).collect()
        } else {
            Addresses::on_loopback(HOSTS.into())?
        };
        let mut hosts = Vec::new();
        for (number, &own) in (1..=HOSTS).zip(&addresses) {
            let dir = place.dir.join(format!("{DISK}{number}"));
            let notes = place.dir.join(format!("notes{number}"));
            directory(&dir)?;
            directory(&notes)?;
            let disk = place.networks.then(|| Disk::mount(&dir)).transpose()?;
            let configuration = server::configuration(
                &format!("host{number}"),
                &dir.join("store"),
                own,
                &addresses,
            );
            let path = notes.join("nats.conf");
            std::fs::write(&path, configuration)
                .map_err(Failure::system(path.display().to_string()))?;
            let network = place.networks.then(|| Network::new(number)).transpose()?;
            hosts.push(Host {
                number,
                dir,
                notes,
                addresses: own,
                network,
                disk,
                server: None,
                balancer: None,
                helper: None,
            });
        }
        let record = Record::default();
        let clients = (0..CLIENTS).map(|number| Client::new(number, seed, &record)).collect();
        Ok(Self { place, hosts, clients, record, ended: BTreeMap::new() })
    }

    /// A host, by its number.
    pub(crate) fn host(&mut self, number: u8) -> &mut Host {
        &mut self.hosts[usize::from(number) - 1]
    }

    /// Starts what does not run.
    pub(crate) fn start_all(&mut self) -> Result<(), Failure> {
        for number in 1..=HOSTS {
            self.start_server(number)?;
            self.start_balancer(number)?;
        }
        for client in 0..CLIENTS {
            self.start_client(client)?;
        }
        Ok(())
    }

    /// Starts a host's server, if it does not run.
    pub(crate) fn start_server(&mut self, number: u8) -> Result<(), Failure> {
        let mut command = Command::new(&self.place.server);
        let host = self.host(number);
        if host.server.is_none() {
            command.arg("--config").arg(host.notes.join("nats.conf"));
            host.server = Some(host.serve("server", command)?);
        }
        Ok(())
    }

    /// Starts a host's balancer, if it does not run.
    pub(crate) fn start_balancer(&mut self, number: u8) -> Result<(), Failure> {
        if self.host(number).balancer.is_none() {
            let dir = self.host(number).dir.clone();
            let command = self.balancer(number, number, &dir)?;
            let host = self.host(number);
            host.balancer = Some(host.serve("balancer", command)?);
        }
        Ok(())
    }

    /// Has a host take over the workers of another one.
    pub(crate) fn start_helper(&mut self, number: u8, of: u8) -> Result<(), Failure> {
        let dir = self.helper_dir(number);
        directory(&dir)?;
        let command = self.balancer(number, of, &dir)?;
        let host = self.host(number);
        host.helper = Some(host.serve("helper", command)?);
        Ok(())
    }

    /// Where a balancer writes its log that has taken over others' workers.
    pub(crate) fn helper_dir(&self, number: u8) -> PathBuf {
        self.hosts[usize::from(number) - 1].dir.join("helper")
    }

    fn start_client(&mut self, client: usize) -> Result<(), Failure> {
        let host = client % usize::from(HOSTS);
        if !self.clients[client].is_running() {
            let command = self.program("client", host, INSTANCE);
            self.clients[client].start(&self.hosts[host], command)?;
        }
        Ok(())
    }

    /// A balancer on one host, with the workers of the same or another one.
    fn balancer(
        &self,
        number: u8,
        workers_of: u8,
        dir: &std::path::Path,
    ) -> Result<Command, Failure> {
        let at = usize::from(number) - 1;
        let mut command = self.program("loadbalancer", at, INSTANCE);
        let run = format!("{workers_of},{}", workers_of + HOSTS);
        command.arg("--dir").arg(dir).args(["--serve", "--take-over", "--run", &run]);
        // A kill may meet COMMAND before its worker: that attempt has failed, and is none of the message's fault.
        command.args([
            "--retries",
            "20",
            "--backoff",
            "0.05",
            "--lines",
            &WORKERS.to_string(),
            "--",
        ]);
        let handler = handler::command(&self.hosts[at].record());
        command.args(handler.map_err(Failure::system("/proc/self/exe"))?);
        Ok(command)
    }

    /// The servers, as somebody on this host names them (from 0): the one there comes first.
    pub(crate) fn urls(&self, host: usize) -> String {
        let order = (0..self.hosts.len()).map(|step| &self.hosts[(host + step) % self.hosts.len()]);
        order.map(|it| format!("nats://{}", it.addresses.clients)).collect::<Vec<_>>().join(",")
    }

    /// The program, as somebody on this host calls it.
    pub(crate) fn program(&self, role: &str, host: usize, instance: &str) -> Command {
        let mut command = Command::new(&self.place.cluster);
        command.args([role, "--nats", &self.urls(host), "--instance", instance]);
        command
    }

    /// Looks who has ended by itself. A client may not; the others are started again, as a service manager does.
    pub(crate) fn mend(&mut self) -> Result<(), Failure> {
        for client in &mut self.clients {
            if let Some(status) = client.ended()? {
                let name = client.name();
                return Err(Failure::Broken(format!("{name} has ended by itself, with {status}")));
            }
        }
        for host in &mut self.hosts {
            for (name, child) in [("server", &mut host.server), ("balancer", &mut host.balancer)] {
                if let Some(status) = host::ended(child)? {
                    *self.ended.entry(format!("{name}: {status}")).or_default() += 1;
                }
            }
        }
        self.start_all()
    }

    /// Kills a host, with the clients on it.
    pub(crate) fn kill_host(&mut self, number: u8) -> Result<(), Failure> {
        self.host(number).kill()?;
        let on_host = |client: &usize| client % usize::from(HOSTS) == usize::from(number) - 1;
        for client in (0..CLIENTS).filter(on_host) {
            let client = &mut self.clients[client];
            let name = format!("the end of {}, which was killed", client.name());
            until(LOOK, &name, || {
                let ended = client.ended()?.is_some();
                Ok(when(ended || !client.is_running()))
            })?;
        }
        self.reap();
        Ok(())
    }

    /// What killed processes have left came here, and has ended, too.
    fn reap(&self) {
        let hosts = self.hosts.iter();
        let own = hosts.flat_map(|it| [&it.server, &it.balancer, &it.helper]).flatten();
        let own: Vec<_> = own.map(std::process::Child::id).collect();
        let clients: Vec<_> = self.clients.iter().filter_map(Client::pid).collect();
        let is_own = |pid: u32| own.contains(&pid) || clients.contains(&pid);
        children::reap_until(|pid| is_own(pid.as_raw().cast_unsigned()), |_| {});
    }

    /// Waits until all servers are there, and up to date.
    pub(crate) fn await_servers(&mut self) -> Result<(), Failure> {
        until(READY, "all servers are healthy", || {
            self.mend_servers()?;
            Ok(when(self.hosts.iter().all(|host| host.addresses.is_healthy())))
        })
    }

    fn mend_servers(&mut self) -> Result<(), Failure> {
        for number in 1..=HOSTS {
            if let Some(status) = host::ended(&mut self.host(number).server)? {
                *self.ended.entry(format!("server: {status}")).or_default() += 1;
            }
            self.start_server(number)?;
        }
        Ok(())
    }

    /// Every entry of the stream, in a file.
    pub(crate) fn inspect(&self) -> Result<PathBuf, Failure> {
        let output = self.place.dir.join("stream.jsonl");
        if stream::look(self.look("inspect")?, &output, READ_ALL)? {
            return Ok(output);
        }
        let command = format!("{PROGRAM} inspect");
        Err(Failure::Broken(format!("`{command}` has not ended with 0 in time")))
    }

    fn look(&self, role: &str) -> Result<Command, Failure> {
        let mut command = self.program(role, 0, INSTANCE);
        command.current_dir(&self.place.dir).stderr(self.hosts[0].notes(&format!("{role}.err"))?);
        Ok(command)
    }

    /// Waits until all is executed, and ends the session; `dir` gets one more copy of the log.
    pub(crate) fn end_session(
        &self,
        dir: &std::path::Path,
        limit: Duration,
    ) -> Result<(), Failure> {
        directory(dir)?;
        let mut command = self.look("loadbalancer")?;
        command.arg("--dir").arg(dir).args(["--run", "none", &WORKERS.to_string()]);
        let stdout = self.hosts[0].notes("loadbalancer.out")?;
        let child = command.stdin(std::process::Stdio::null()).stdout(stdout).spawn();
        let mut child = child.map_err(Failure::system(PROGRAM))?;
        match stream::wait(&mut child, limit)?.map(|status| (status.code(), status)) {
            // With 1: some messages are dead. Whether those are right is looked at later.
            Some((Some(0 | 1), _)) => Ok(()),
            Some((_, status)) => {
                Err(Failure::Broken(format!("the balancer that ends the session: {status}")))
            }
            None => {
                Err(Failure::Broken(format!("the session's end: not within {} s", limit.as_secs())))
            }
        }
    }

    /// Ends all balancers, then all servers.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        for host in &mut self.hosts {
            host::end(
                &format!("host {}'s balancer", host.number),
                &mut host.balancer,
                Signal::SIGTERM,
            )?;
        }
        for host in &mut self.hosts {
            host::end(&format!("host {}'s server", host.number), &mut host.server, Signal::SIGINT)?;
        }
        for host in &self.hosts {
            let left = host.processes();
            if !left.is_empty() {
                let number = host.number;
                return Err(Failure::Broken(format!(
                    "host {number}: processes are left: {left:?}"
                )));
            }
        }
        Ok(())
    }
}
