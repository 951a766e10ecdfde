//! Redis: a list for each worker, into which 1,000 texts are pushed with one command, and from which up to 1,000 are popped with one.
//! Some commands are on the way at once. The server is there already: its socket is `redis.sock`.

use std::io;
use std::process::{Child, Stdio};

use redis::{Cmd, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult};

use crate::give::Way;
use crate::take::Executed;
use crate::{Args, wait_for};

const BATCH: usize = 1_000;
/// Commands whose answer was not read yet.
const ON_THE_WAY_MAX: usize = 8;
/// Seconds; who waits for longer has nobody at the other end.
const PATIENCE: u32 = 10;
/// No text is empty.
const END: &[u8] = b"";

pub(crate) struct Lists {
    workers: Vec<Child>,
    connection: Connection,
    /// The next push for each worker, and how many texts are in it.
    pushes: Vec<(Cmd, usize)>,
    on_the_way: usize,
}

impl Lists {
    pub(crate) fn start(args: &Args) -> io::Result<Self> {
        let connection = connect().map_err(io::Error::other)?;
        let pushes = (1..=args.workers).map(|worker| (push(worker), 0)).collect();
        Ok(Self { workers: args.start_workers(Stdio::null)?, connection, pushes, on_the_way: 0 })
    }

    fn push(&mut self, worker: usize) -> RedisResult<()> {
        if self.on_the_way == ON_THE_WAY_MAX {
            self.connection.recv_response()?;
            self.on_the_way -= 1;
        }
        let full = std::mem::replace(&mut self.pushes[worker], (push(worker + 1), 0));
        self.on_the_way += 1;
        self.connection.send_packed_command(&full.0.get_packed_command())
    }

    fn push_all(&mut self) -> RedisResult<()> {
        for worker in 0..self.pushes.len() {
            self.pushes[worker].0.arg(END);
            self.push(worker)?;
        }
        for _ in 0..self.on_the_way {
            self.connection.recv_response()?;
        }
        Ok(())
    }
}

impl Way for Lists {
    fn send(&mut self, worker: usize, text: &[u8]) -> io::Result<()> {
        let (push, texts) = &mut self.pushes[worker];
        push.arg(text);
        *texts += 1;
        if *texts == BATCH {
            self.push(worker).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.push_all().map_err(io::Error::other)?;
        wait_for(self.workers)
    }
}

/// In the worker: what is in its list.
pub(crate) fn take(worker: usize, executed: Executed<'_>) -> io::Result<()> {
    let mut connection = connect().map_err(io::Error::other)?;
    let mut pop = redis::cmd("BLMPOP");
    pop.arg(PATIENCE).arg(1).arg(name(worker)).arg("RIGHT").arg("COUNT").arg(BATCH);
    loop {
        let popped = pop.query(&mut connection).map_err(io::Error::other)?;
        let (_, texts): (String, Vec<Vec<u8>>) = popped;
        for text in texts {
            if text == END {
                return Ok(());
            }
            executed()?;
        }
    }
}

fn connect() -> RedisResult<Connection> {
    let server: ConnectionInfo =
        ConnectionAddr::Unix("redis.sock".into()).into_connection_info()?;
    redis::Client::open(server)?.get_connection()
}

fn push(worker: usize) -> Cmd {
    let mut push = redis::cmd("LPUSH");
    push.arg(name(worker));
    push
}

fn name(worker: usize) -> String {
    format!("worker {worker}")
}
