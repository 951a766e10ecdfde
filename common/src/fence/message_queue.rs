//! SysV message queues (`msgget(2)`, `msgop(2)`, `msgctl(2)`).

use std::ptr;

use nix::Result;
use nix::errno::Errno;

use super::{Permissions, ask};

/// Longest message that fits a [`Message`]; the default of `kernel.msgmax`.
pub const MESSAGE_LEN_MAX: usize = 8192;

/// A message as the kernel takes and gives it: a type above 0, then bytes.
#[repr(C)]
pub struct Message {
    /// The type: above 0, or sending fails with EINVAL.
    pub kind: i64,
    /// All the room.
    pub bytes: [u8; MESSAGE_LEN_MAX],
}

const _: () = assert!(size_of::<libc::msginfo>() <= size_of::<libc::msqid_ds>());
const _: () = assert!(size_of::<Message>() == size_of::<libc::c_long>() + MESSAGE_LEN_MAX);

impl Message {
    /// Room for one message.
    #[must_use]
    pub fn boxed() -> Box<Self> {
        Box::new(Self { kind: 1, bytes: [0; MESSAGE_LEN_MAX] })
    }
}

/// A queue's id. The queue itself may be gone: then calls fail with EINVAL or EIDRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageQueue(pub i32);

/// What `IPC_STAT` says about a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueStat {
    /// Owner and mode.
    pub permissions: Permissions,
    /// Messages in it.
    pub messages: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Most bytes that it takes.
    pub bytes_max: u64,
}

impl MessageQueue {
    /// Makes a queue with this key and mode; EEXIST when there is one.
    pub fn create(key: i32, mode: i32) -> Result<Self> {
        // SAFETY: takes no pointers.
        Errno::result(unsafe { libc::msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | mode) })
            .map(Self)
    }

    /// The queue with this key; ENOENT when there is none.
    pub fn find(key: i32) -> Result<Self> {
        // SAFETY: takes no pointers.
        Errno::result(unsafe { libc::msgget(key, 0) }).map(Self)
    }

    /// Owner, limit and load.
    pub fn stat(self) -> Result<QueueStat> {
        // SAFETY: a msqid_ds is what IPC_STAT fills in, and zeros are a valid one.
        let (_, stat): (_, libc::msqid_ds) = unsafe { ask(libc::msgctl, self.0, libc::IPC_STAT) }?;
        let permissions = Permissions::new(&stat.msg_perm);
        Ok(QueueStat {
            permissions,
            messages: stat.msg_qnum,
            bytes: stat.__msg_cbytes,
            bytes_max: stat.msg_qbytes,
        })
    }

    /// All that this process may look at, with their owners.
    pub fn all() -> Result<Vec<(Self, Permissions)>> {
        // SAFETY: MSG_INFO fills in a msginfo, which is smaller than a msqid_ds, with integers only.
        let (last, _) = unsafe { ask(libc::msgctl, 0, libc::MSG_INFO) }?;
        let queue = |index| {
            // SAFETY: a msqid_ds is what MSG_STAT fills in, and zeros are a valid one.
            let (id, stat) = unsafe { ask(libc::msgctl, index, libc::MSG_STAT) }.ok()?;
            Some((Self(id), Permissions::new(&stat.msg_perm)))
        };
        Ok((0..=last).filter_map(queue).collect())
    }

    /// Removes it; whoever waits in it gets EIDRM.
    pub fn remove(self) -> Result<()> {
        // SAFETY: IPC_RMID ignores the buffer.
        Errno::result(unsafe { libc::msgctl(self.0, libc::IPC_RMID, ptr::null_mut()) }).map(drop)
    }

    /// Sends the first `len` bytes; EAGAIN when they do not fit now.
    pub fn try_send(self, message: &Message, len: usize) -> Result<()> {
        assert!(len <= MESSAGE_LEN_MAX);
        let from = (&raw const *message).cast();
        // SAFETY: `from` is a long followed by at least `len` bytes (asserted above).
        Errno::result(unsafe { libc::msgsnd(self.0, from, len, libc::IPC_NOWAIT) }).map(drop)
    }

    /// Whether there is a message of this kind, with at least one byte. It stays: it does not fit into no bytes.
    pub fn holds(self, kind: i64) -> Result<bool> {
        let mut room = kind;
        // SAFETY: `room` is a long, followed by no bytes, which is the size given.
        let len =
            unsafe { libc::msgrcv(self.0, (&raw mut room).cast(), 0, kind, libc::IPC_NOWAIT) };
        match Errno::result(len) {
            Err(Errno::E2BIG) => Ok(true),
            Err(Errno::ENOMSG) | Ok(_) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn receive_with(self, message: &mut Message, but: i64, flags: i32) -> Result<usize> {
        let (into, flags) =
            ((&raw mut *message).cast(), flags | libc::MSG_NOERROR | libc::MSG_EXCEPT);
        // SAFETY: `into` is a long followed by MESSAGE_LEN_MAX bytes, which is the size given.
        let len = unsafe { libc::msgrcv(self.0, into, MESSAGE_LEN_MAX, but, flags) };
        Errno::result(len).map(isize::cast_unsigned)
    }

    /// Takes the first message of any kind but one, and returns its length; ENOMSG when there is none. No message is
    /// of kind 0.
    pub fn try_receive(self, message: &mut Message, but: i64) -> Result<usize> {
        self.receive_with(message, but, libc::IPC_NOWAIT)
    }

    /// Waits for such a message; EINTR after any signal, EIDRM when the queue is removed.
    pub fn receive(self, message: &mut Message, but: i64) -> Result<usize> {
        self.receive_with(message, but, 0)
    }
}
