//! What other programs can do to IPC objects, for tests: make them with any mode, size and owner, and
//! write anything into them. No process of the product calls this.

use std::mem::MaybeUninit;
use std::ptr;

use nix::Result;
use nix::errno::Errno;

use super::message_queue::MessageQueue;
use super::shared_memory;

/// Makes a segment of any size and mode.
pub fn create_segment(key: i32, size: usize, mode: i32) -> Result<i32> {
    // SAFETY: takes no pointers.
    Errno::result(unsafe { libc::shmget(key, size, libc::IPC_CREAT | libc::IPC_EXCL | mode) })
}

/// Makes a queue of any mode.
pub fn create_queue(key: i32, mode: i32) -> Result<MessageQueue> {
    // SAFETY: takes no pointers.
    Errno::result(unsafe { libc::msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | mode) })
        .map(MessageQueue)
}

/// Gives a segment to another user.
pub fn give_segment(id: i32, user: u32) -> Result<()> {
    let mut stat = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the buffer is a shmid_ds, which is what IPC_STAT fills.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_STAT, stat.as_mut_ptr()) })?;
    // SAFETY: zeroed is a valid shmid_ds, and the kernel filled it.
    let mut stat = unsafe { stat.assume_init() };
    stat.shm_perm.uid = user;
    // SAFETY: IPC_SET reads the shmid_ds it is given.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_SET, &raw mut stat) }).map(drop)
}

/// Gives a queue to another user.
pub fn give_queue(queue: MessageQueue, user: u32) -> Result<()> {
    change_queue(queue, |stat| stat.msg_perm.uid = user)
}

/// Sets the most bytes that a queue takes; above `kernel.msgmnb` only with CAP_SYS_RESOURCE.
pub fn set_bytes_max(queue: MessageQueue, bytes_max: u64) -> Result<()> {
    change_queue(queue, |stat| stat.msg_qbytes = bytes_max)
}

fn change_queue(queue: MessageQueue, change: impl FnOnce(&mut libc::msqid_ds)) -> Result<()> {
    let mut stat = queue.raw_stat()?;
    change(&mut stat);
    // SAFETY: IPC_SET reads the msqid_ds it is given.
    Errno::result(unsafe { libc::msgctl(queue.0, libc::IPC_SET, &raw mut stat) }).map(drop)
}

/// Writes bytes into a segment, whoever uses it.
pub fn write_segment(id: i32, offset: usize, bytes: &[u8]) -> Result<()> {
    with_bytes(id, |start, size| {
        assert!(offset + bytes.len() <= size, "beyond the segment's end");
        for (i, &byte) in bytes.iter().enumerate() {
            // SAFETY: within the mapping, as asserted; volatile, since others use it too.
            unsafe { start.wrapping_add(offset + i).write_volatile(byte) };
        }
    })
}

/// Copies a segment's bytes out.
pub fn read_segment(id: i32) -> Result<Vec<u8>> {
    with_bytes(id, |start, size| {
        // SAFETY: within the mapping; volatile, since others use it too.
        (0..size).map(|i| unsafe { start.wrapping_add(i).read_volatile() }).collect()
    })
}

fn with_bytes<T>(id: i32, action: impl FnOnce(*mut u8, usize) -> T) -> Result<T> {
    // SAFETY: with a null address the kernel picks one.
    let address = unsafe { libc::shmat(id, ptr::null(), 0) };
    if address.addr() == usize::MAX {
        return Err(Errno::last());
    }
    // Of what is attached now: it cannot change any more.
    let done = shared_memory::stat(id).map(|stat| action(address.cast(), stat.size));
    // SAFETY: the address came from shmat, and nothing points into it any more.
    unsafe { libc::shmdt(address) };
    done
}
