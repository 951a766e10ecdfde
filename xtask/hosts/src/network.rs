//! Each host's network is a namespace of its own, with one link to a switch, which is a bridge in the namespace of this
//! process. None has a name: a descriptor holds it, and it is gone with the last process in it. The machine's own
//! network has no part in any of this.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::{io, process, thread};

use nix::sched::{CloneFlags, setns, unshare};

use crate::failure::Failure;

/// A host's network.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: File,
    /// The switch's end of the link.
    port: String,
}

/// Makes the switch. This process is on it, too.
pub(crate) fn make_switch() -> Result<(), Failure> {
    ip("link set lo up")?;
    ip("link add switch type bridge")?;
    ip("address add 10.77.0.254/24 dev switch")?;
    ip("link set switch up")
}

impl Network {
    /// Makes a host's, and joins it to the switch.
    pub(crate) fn new(number: u8) -> Result<Self, Failure> {
        let made = apart(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let namespace = made.map_err(Failure::system("a network namespace"))?;
        let network = Self { namespace, port: format!("port{number}") };
        let path = format!("/proc/{}/fd/{}", process::id(), network.namespace.as_raw_fd());
        ip(&format!("link add {} type veth peer name eth0 netns {path}", network.port))?;
        ip(&format!("link set {} master switch up", network.port))?;
        for what in [
            "link set lo up".to_owned(),
            format!("address add {}/24 dev eth0", address(number)),
            "link set eth0 up".to_owned(),
        ] {
            let command = &mut command(&what);
            finish(&what, network.spawn(command.stderr(Stdio::piped())))?;
        }
        Ok(network)
    }

    /// Starts a program on this host.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        apart(|| {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
            command.spawn()
        })
    }

    /// Cuts the host off from all others.
    pub(crate) fn cut(&self) -> Result<(), Failure> {
        ip(&format!("link set {} down", self.port))
    }

    /// Joins it again.
    pub(crate) fn join(&self) -> Result<(), Failure> {
        ip(&format!("link set {} up", self.port))
    }
}

/// A host's address.
pub(crate) fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, number).into()
}

/// In a thread of its own, whose namespaces end with it.
fn apart<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let outcome = thread::scope(|scope| scope.spawn(act).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// `ip(8)`, on the switch.
fn ip(what: &str) -> Result<(), Failure> {
    finish(what, command(what).stderr(Stdio::piped()).spawn())
}

fn command(what: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(what.split(' ')).stdin(Stdio::null());
    command
}

fn finish(what: &str, started: io::Result<Child>) -> Result<(), Failure> {
    let output = started.and_then(Child::wait_with_output).map_err(Failure::system("ip"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::Command { command: format!("ip {what}"), why })
}
