//! The run is a process of its own, the first one of a PID namespace and a mount namespace: once it ends, however it
//! ends, the kernel kills everything that it has started, and its links and mounts are gone with their namespaces. So
//! this process has only to end it, and to remove a directory.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use common::error::exit;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::geteuid;
use tests::{Binaries, Profile, Programs, TempDir};

use crate::Args;
use crate::failure::Failure;
use crate::place::{self, Place};
use crate::server;

/// Runs it to its end.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    // On loopback ports there is no PID namespace: what a killed process leaves comes here, and not to PID 1.
    set_child_subreaper(true).map_err(Failure::system("prctl"))?;
    tests::end_with_signals();
    let server = server::find()?;
    let profile = if args.bench { Profile::Release } else { Profile::Dev };
    let cluster = program(args.programs.as_deref(), profile)?;
    let bench = args.bench.then(bench_programs).transpose()?;
    let is_loopback = args.loopback || args.bench;
    let networks = if is_loopback { Err("--loopback".to_owned()) } else { probe() };
    if let Some(why) = networks.as_ref().err().filter(|_| !args.bench) {
        common::tell!("cluster: no namespaces ({why}): all hosts are on loopback ports");
    }
    let dir = TempDir::new("hosts-").map_err(Failure::system("a temp directory"))?;
    let networks = networks.is_ok();
    let place = Place { dir: dir.path().to_owned(), cluster, server, networks, bench };
    let mut command = if place.networks { in_namespaces() } else { Command::new("/proc/self/exe") };
    if place.networks {
        command.arg(std::env::current_exe().map_err(Failure::system("/proc/self/exe"))?);
    }
    command.args(place.arguments()).args(std::env::args_os().skip(1));
    // Ctrl-C on a terminal comes to this process alone. The pipe is never written to: its end tells that this process
    // has ended.
    let child = command.process_group(0).stdin(Stdio::piped()).spawn();
    let mut child = child.map_err(Failure::system("unshare"))?;
    let leash = child.stdin.take();
    let status = child.wait().map_err(Failure::system("waitpid"))?;
    drop(leash);
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::TROUBLE);
    if args.keep || code == exit::VERIFY {
        dir.keep();
        common::tell!("kept: {}", dir.path().display());
    }
    Ok(ExitCode::from(code))
}

/// `unshare(1)`: without root in a user namespace, where that is allowed.
fn in_namespaces() -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Why namespaces, and links between them, cannot be had.
fn probe() -> Result<(), String> {
    let mut command = in_namespaces();
    command.args(["ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"]);
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(stderr.lines().last().unwrap_or("unshare has failed").to_owned())
}

fn bench_programs() -> Result<place::Programs, Failure> {
    let local = Binaries::or_built(None, Profile::Release, Programs::System);
    let publisher = Binaries::build_example(place::PROGRAM, "publisher", Profile::Release);
    let local = local.map_err(Failure::Build)?.directory().to_owned();
    Ok(place::Programs { publisher: publisher.map_err(Failure::Build)?, local })
}

fn program(directory: Option<&Path>, profile: Profile) -> Result<PathBuf, Failure> {
    let Some(directory) = directory else {
        return Binaries::build_program(place::PROGRAM, profile).map_err(Failure::Build);
    };
    let path = directory.join(place::PROGRAM);
    path.canonicalize().map_err(Failure::system(path.display().to_string()))
}
