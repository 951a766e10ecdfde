//! ZeroMQ: a PUSH socket and a PULL socket for each worker (`ipc://`), a message for each text. One PUSH socket for all workers would give each
//! message to whoever has room, not to the one whose turn it is.

use std::io;
use std::process::{Child, Stdio};

use zmq::{Context, Message, Socket};

use crate::give::Way;
use crate::take::Executed;
use crate::{Args, wait_for};

/// Messages that may be on the way to a worker, at each end. ZeroMQ's own choice, 1,000, has them wait for each other
/// more often.
const ON_THE_WAY_MAX: i32 = 100_000;
/// Who waits for longer has nobody at the other end.
const PATIENCE_MS: i32 = 10_000;
/// No text is empty.
const END: &[u8] = b"";

pub(crate) struct Sockets {
    workers: Vec<Child>,
    sockets: Vec<Socket>,
}

impl Sockets {
    /// The addresses are there before a worker looks for its own.
    pub(crate) fn start(args: &Args) -> io::Result<Self> {
        let context = Context::new();
        let sockets = (1..=args.workers).map(|worker| {
            let socket = context.socket(zmq::PUSH)?;
            socket.set_sndhwm(ON_THE_WAY_MAX)?;
            socket.set_sndtimeo(PATIENCE_MS)?;
            socket.bind(&address(worker))?;
            Ok(socket)
        });
        let sockets = sockets.collect::<zmq::Result<_>>()?;
        Ok(Self { workers: args.start_workers(Stdio::null)?, sockets })
    }
}

impl Way for Sockets {
    fn send(&mut self, worker: usize, text: &[u8]) -> io::Result<()> {
        Ok(self.sockets[worker].send(text, 0)?)
    }

    fn end(self) -> io::Result<()> {
        for socket in &self.sockets {
            socket.send(END, 0)?;
        }
        wait_for(self.workers)
    }
}

/// In the worker: its messages.
pub(crate) fn take(worker: usize, executed: Executed<'_>) -> io::Result<()> {
    let socket = Context::new().socket(zmq::PULL)?;
    socket.set_rcvhwm(ON_THE_WAY_MAX)?;
    socket.set_rcvtimeo(PATIENCE_MS)?;
    socket.connect(&address(worker))?;
    let mut message = Message::new();
    loop {
        socket.recv(&mut message, 0)?;
        if &*message == END {
            return Ok(());
        }
        executed()?;
    }
}

/// In the working directory: a socket's path must be short.
fn address(worker: usize) -> String {
    format!("ipc://zeromq.{worker}")
}
