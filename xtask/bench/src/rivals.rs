//! What people would build without promises: `xtask/rivals` reads the same lines in one process, gives the messages in
//! turn to N workers through pipes, ZeroMQ or Redis, and writes the same lines to a log, in another order. Whoever dies
//! takes messages with him.
//!
//! ZeroMQ and Redis take part where they are installed (`pkg-config` finds libzmq; there is a `redis-server`, of
//! version 7 or later); each is built only then. Starting the processes is timed, as it is for our job; but the server of
//! Redis is there before, as its clients expect.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Binaries, Sandbox};

use super::case::Case;
use super::contestant::Contestant;
use super::failure::{Failure, until};
use super::launch::{Launched, launch, printed, time};
use super::texts::Texts;
use super::{judge, page_cache};

/// Relative to the sandbox, in which all of them run: the path of a socket must be short.
const REDIS_SOCKET: &str = "redis.sock";
const LOG: &str = "rivals.log";

/// The program, and who takes part: by default nobody.
#[derive(Default)]
pub(super) struct Rivals {
    program: PathBuf,
    installed: Vec<Contestant>,
}

impl Rivals {
    /// Builds what is installed.
    pub(super) fn build() -> Result<Self, Failure> {
        let mut installed = vec![Contestant::Pipes, Contestant::ZeroMq, Contestant::Redis];
        installed.retain(|&contestant| is_installed(contestant));
        // Pipes are always in it: that needs no feature.
        let others = installed[1..].iter().map(|&contestant| way(contestant));
        let features = others.collect::<Vec<_>>().join(",");
        let program = Binaries::build_apart("xtask/rivals", &features).map_err(Failure::Build)?;
        Ok(Self { program, installed })
    }

    pub(super) fn has(&self, contestant: Contestant) -> bool {
        self.installed.contains(&contestant)
    }

    /// Runs one of them, with one process that reads all lines, however many clients ours has; and judges its log.
    pub(super) fn run(
        &self,
        contestant: Contestant,
        case: &Case,
        sandbox: &Sandbox,
    ) -> Result<Duration, Failure> {
        let case = case.by(1);
        let temp_file = || Failure::system("a temp file");
        let input = Texts::new(case.lens).file(0..case.messages).map_err(temp_file())?;
        let mut command = Command::new(&self.program);
        command.args([way(contestant), &case.workers.to_string(), LOG]);
        command.current_dir(sandbox.dir()).stdin(input);
        let server = (contestant == Contestant::Redis).then(|| start_redis(sandbox)).transpose()?;
        page_cache::leave_pages(&sandbox.dir(), case.log_len()).map_err(temp_file())?;
        let took = time(command)?;
        if let Some((server, mut connection)) = server {
            // Not by a signal: it has inherited a mask that holds them back.
            connection
                .write_all(b"SHUTDOWN NOSAVE\r\n")
                .map_err(Failure::system("redis-server"))?;
            server.finish()?;
        }
        let log = sandbox.dir().join(LOG);
        judge::complete(&log, &case)?;
        std::fs::remove_file(log).map_err(Failure::system(LOG))?;
        Ok(took)
    }
}

/// What the program calls it.
fn way(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::ZeroMq => "zeromq",
        Contestant::Redis => "redis",
        _ => "pipes",
    }
}

fn is_installed(contestant: Contestant) -> bool {
    match contestant {
        Contestant::ZeroMq => printed("pkg-config", &["--exists", "libzmq"]).is_some(),
        Contestant::Redis => {
            let version = printed("redis-server", &["--version"]);
            let major = version.as_deref().and_then(|version| {
                version.split_once("v=")?.1.split_once('.')?.0.parse::<u32>().ok()
            });
            major.is_some_and(|major| major >= 7) // BLMPOP
        }
        _ => true,
    }
}

/// A server that keeps nothing on the disk, and a connection to it.
fn start_redis(sandbox: &Sandbox) -> Result<(Launched, UnixStream), Failure> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", REDIS_SOCKET, "--save", "", "--appendonly", "no"]);
    command.current_dir(sandbox.dir()).stdin(Stdio::null()).stdout(Stdio::null());
    let server = launch(command)?;
    let connection = until("redis-server's socket", || {
        UnixStream::connect(sandbox.dir().join(REDIS_SOCKET)).ok()
    });
    Ok((server, connection?))
}
