//! A nats-server: where the program is, what is in its configuration, and whether it is ready.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::Failure;

/// The program.
const PROGRAM: &str = "nats-server";
/// Clusters of older ones have acknowledged more than one winner of a compare-and-set (nats-server#4320).
const VERSION_MIN: (u32, u32) = (2, 12);
/// A server that is stopped, or is cut off, does not answer at all.
const ANSWER: Duration = Duration::from_millis(500);

/// Where the servers of a host listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) clients: SocketAddr,
    pub(crate) routes: SocketAddr,
    pub(crate) monitor: SocketAddr,
}

impl Addresses {
    /// On a host of its own: the usual ports.
    pub(crate) fn on(host: IpAddr) -> Self {
        let [clients, routes, monitor] = [4222, 6222, 8222].map(|port| SocketAddr::new(host, port));
        Self { clients, routes, monitor }
    }

    /// For each of so many hosts, ports that nobody uses.
    pub(crate) fn on_loopback(hosts: usize) -> Result<Vec<Self>, Failure> {
        let listen = |_| TcpListener::bind("127.0.0.1:0");
        // All at once, so that each is another one.
        let listeners: Vec<_> = (0..hosts * 3)
            .map(listen)
            .collect::<Result<_, _>>()
            .map_err(Failure::system("127.0.0.1"))?;
        let addresses: Vec<_> = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()
            .map_err(Failure::system("127.0.0.1"))?;
        let host =
            |ports: &[SocketAddr]| Self { clients: ports[0], routes: ports[1], monitor: ports[2] };
        Ok(addresses.chunks_exact(3).map(host).collect())
    }

    /// Whether the server is there, and its streams are up to date.
    pub(crate) fn is_healthy(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&self.monitor, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        ask().is_ok_and(|answer| answer.ends_with(b" 200"))
    }
}

/// The program: `$NATS_SERVER`, what `.ci/nats-server` gets, or the one in PATH.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    let got = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nats-server").join(PROGRAM);
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&in_path).map(|dir| dir.join(PROGRAM));
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let mut places =
        named.map_or_else(|| [got].into_iter().chain(in_path).collect(), |it| vec![it]);
    places.retain(|place| place.is_file());
    let program = places.into_iter().next().ok_or(Failure::NoServer)?;
    let output = Command::new(&program).arg("--version").output();
    let output = output.map_err(Failure::system(program.display().to_string()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if parsed(&version).is_none_or(|version| version < VERSION_MIN) {
        return Err(Failure::OldServer { program: program.display().to_string(), version });
    }
    program.canonicalize().map_err(Failure::system(program.display().to_string()))
}

/// Of `nats-server: v2.15.1`.
fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.rsplit_once('v')?.1.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The configuration of a host's server. `sync_interval`: else a power failure loses what was acknowledged. The largest
/// store is named, since without that it is a part of what is free when the server starts.
pub(crate) fn configuration(name: &str, store: &Path, own: Addresses, all: &[Addresses]) -> String {
    let routes: String = all.iter().map(|it| format!("    nats-route://{}\n", it.routes)).collect();
    let Addresses { clients, routes: listen, monitor } = own;
    format!(
        "server_name: {name}\n\
         listen: \"{clients}\"\n\
         http: \"{monitor}\"\n\
         jetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n  max_file_store: 8GB\n}}\n\
         cluster {{\n  name: hosts\n  listen: \"{listen}\"\n  routes: [\n{routes}  ]\n}}\n",
        store.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parsed("nats-server: v2.15.1"), Some((2, 15)));
        assert!(parsed("nats-server: v2.9.10").is_some_and(|version| version < VERSION_MIN));
        assert_eq!(parsed("something else"), None);
    }

    #[test]
    fn each_host_has_ports_of_its_own() {
        let hosts = Addresses::on_loopback(3).unwrap();
        let ports = hosts.iter().flat_map(|it| [it.clients, it.routes, it.monitor]);
        assert_eq!(ports.collect::<std::collections::HashSet<_>>().len(), 9);
    }
}
