//! What other programs can do to IPC objects, for tests: give them to anyone, change their limits, and write
//! anything into them. A crate of its own, so that the product's fence holds nothing that no process of ours does.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, Ordering};
use std::{ptr, slice};

use common::fence::message_queue::MessageQueue;
use common::fence::shared_memory;
use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// `msgctl(2)` or `shmctl(2)`.
type Control<T> = unsafe extern "C" fn(i32, i32, *mut T) -> i32;

/// Changes a segment: its owner (`shm_perm.uid`), for example.
pub fn change_segment(id: i32, change: impl FnOnce(&mut libc::shmid_ds)) -> Result<()> {
    // SAFETY: this is what shmctl fills in and reads, and zeros are a valid one.
    unsafe { change_by(libc::shmctl, id, change) }
}

/// Changes a queue: its owner (`msg_perm.uid`), or the most bytes that it takes (`msg_qbytes`), above
/// `kernel.msgmnb` only with CAP_SYS_RESOURCE.
pub fn change_queue(queue: MessageQueue, change: impl FnOnce(&mut libc::msqid_ds)) -> Result<()> {
    // SAFETY: this is what msgctl fills in and reads, and zeros are a valid one.
    unsafe { change_by(libc::msgctl, queue.0, change) }
}

/// # Safety
///
/// `IPC_STAT` must write to no more than a `T`, `IPC_SET` read no more, and zeros must be a valid one.
unsafe fn change_by<T>(control: Control<T>, id: i32, change: impl FnOnce(&mut T)) -> Result<()> {
    let mut stat = MaybeUninit::zeroed();
    // SAFETY: the buffer is large enough, as the caller promises.
    Errno::result(unsafe { control(id, libc::IPC_STAT, stat.as_mut_ptr()) })?;
    // SAFETY: zeros are valid, as the caller promises, and the kernel wrote over them.
    let mut stat = unsafe { stat.assume_init() };
    change(&mut stat);
    // SAFETY: it reads what it has filled in.
    Errno::result(unsafe { control(id, libc::IPC_SET, &raw mut stat) }).map(drop)
}

/// Writes bytes into a segment, whoever uses it.
pub fn write_segment(id: i32, offset: usize, bytes: &[u8]) -> Result<()> {
    with_bytes(id, |segment| {
        for (to, &byte) in segment[offset..offset + bytes.len()].iter().zip(bytes) {
            to.store(byte, Ordering::SeqCst);
        }
    })
}

/// Copies a segment's bytes out.
pub fn read_segment(id: i32) -> Result<Vec<u8>> {
    with_bytes(id, |segment| segment.iter().map(|byte| byte.load(Ordering::SeqCst)).collect())
}

fn with_bytes<T>(id: i32, action: impl FnOnce(&[AtomicU8]) -> T) -> Result<T> {
    // SAFETY: with a null address the kernel picks one.
    let address = Errno::result(unsafe { libc::shmat(id, ptr::null(), 0) })?;
    // Of what is attached now: it cannot change any more.
    let done = shared_memory::stat(id).map(|stat| {
        // SAFETY: the mapping has this size and stays until shmdt; others change it, which atomics allow.
        action(unsafe { slice::from_raw_parts(address.cast(), stat.size) })
    });
    // SAFETY: the address came from shmat, and nothing points into it any more.
    unsafe { libc::shmdt(address) };
    done
}
