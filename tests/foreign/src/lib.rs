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

/// Changes a segment: its owner (`shm_perm.uid`), for example.
pub fn change_segment(id: i32, change: impl FnOnce(&mut libc::shmid_ds)) -> Result<()> {
    let mut stat = MaybeUninit::zeroed();
    // SAFETY: IPC_STAT fills a shmid_ds in.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_STAT, stat.as_mut_ptr()) })?;
    // SAFETY: zeros are a valid one, and the kernel wrote over them.
    let mut stat = unsafe { stat.assume_init() };
    change(&mut stat);
    // SAFETY: IPC_SET reads the shmid_ds it is given.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_SET, &raw mut stat) }).map(drop)
}

/// Changes a queue: its owner (`msg_perm.uid`), or the most bytes that it takes (`msg_qbytes`), above
/// `kernel.msgmnb` only with CAP_SYS_RESOURCE.
pub fn change_queue(queue: MessageQueue, change: impl FnOnce(&mut libc::msqid_ds)) -> Result<()> {
    let mut stat = MaybeUninit::zeroed();
    // SAFETY: IPC_STAT fills a msqid_ds in.
    Errno::result(unsafe { libc::msgctl(queue.0, libc::IPC_STAT, stat.as_mut_ptr()) })?;
    // SAFETY: zeros are a valid one, and the kernel wrote over them.
    let mut stat = unsafe { stat.assume_init() };
    change(&mut stat);
    // SAFETY: IPC_SET reads the msqid_ds it is given.
    Errno::result(unsafe { libc::msgctl(queue.0, libc::IPC_SET, &raw mut stat) }).map(drop)
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
