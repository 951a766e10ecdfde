//! SysV shared memory (`shmget(2)`, `shmop(2)`, `shmctl(2)`).

use std::ptr::{self, NonNull};

use nix::Result;
use nix::errno::Errno;

use crate::ledger::layout::Layout;

use super::{Permissions, ask};

/// An attached segment that holds a [`Layout`]. Dropping it detaches; the segment lives on.
#[derive(Debug)]
pub struct Segment {
    id: i32,
    layout: NonNull<Layout>,
}

// SAFETY: Layout consists of atomics only, so it may be used from any thread.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

/// What `IPC_STAT` says about a segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentStat {
    /// Owner and mode.
    pub permissions: Permissions,
    /// Its exact size in bytes.
    pub size: usize,
    /// It was removed, and lives only until the last process detaches (SHM_DEST).
    pub removed: bool,
}

/// Makes a segment with this key and mode, filled with zeros; EEXIST when there is one.
pub fn create(key: i32, size: usize, mode: i32) -> Result<i32> {
    // SAFETY: takes no pointers.
    Errno::result(unsafe { libc::shmget(key, size, libc::IPC_CREAT | libc::IPC_EXCL | mode) })
}

/// The id of the segment with this key, of whatever size; ENOENT when there is none.
pub fn find(key: i32) -> Result<i32> {
    // SAFETY: takes no pointers.
    Errno::result(unsafe { libc::shmget(key, 0, 0) })
}

/// Owner, size and whether it was removed.
pub fn stat(id: i32) -> Result<SegmentStat> {
    // SAFETY: a shmid_ds is what IPC_STAT fills in, and zeros are a valid one.
    let (_, stat): (_, libc::shmid_ds) = unsafe { ask(libc::shmctl, id, libc::IPC_STAT) }?;
    let permissions = Permissions::new(&stat.shm_perm);
    let removed = u32::from(stat.shm_perm.mode) & SHM_DEST != 0;
    Ok(SegmentStat { permissions, size: stat.shm_segsz, removed })
}

/// Whether a segment was removed, and lives on only until all have detached it.
pub fn is_removed(id: i32) -> Result<bool> {
    match stat(id) {
        // Asked twice, since nobody would remove it any more.
        Err(Errno::EINVAL | Errno::EIDRM) => Ok(stat(id).map_or(true, |stat| stat.removed)),
        stat => stat.map(|stat| stat.removed),
    }
}

/// Linux's flag in `shm_perm.mode` (`shmctl(2)`); the libc crate does not have it.
const SHM_DEST: u32 = 0o1000;

/// Removes a segment; the memory goes when the last process detaches.
pub fn remove(id: i32) -> Result<()> {
    // SAFETY: IPC_RMID ignores the buffer.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) }).map(drop)
}

impl Segment {
    /// Attaches a segment whose size the caller has compared with that of [`Layout`].
    pub fn attach(id: i32) -> Result<Self> {
        Self::map(id, 0)
    }

    /// Attaches it to look only: the kernel kills whoever stores into it all the same.
    pub fn attach_to_look(id: i32) -> Result<Self> {
        Self::map(id, libc::SHM_RDONLY)
    }

    fn map(id: i32, flags: i32) -> Result<Self> {
        // SAFETY: with a null address the kernel picks one.
        let address = Errno::result(unsafe { libc::shmat(id, ptr::null(), flags) })?;
        let layout = NonNull::new(address.cast()).ok_or(Errno::EFAULT)?;
        let segment = Self { id, layout };
        // Ids are reused: only the size of what is attached now counts, and it cannot change.
        if stat(id)?.size != size_of::<Layout>() {
            return Err(Errno::EINVAL);
        }
        Ok(segment)
    }

    /// The kernel's id for it.
    #[must_use]
    pub fn segment_id(&self) -> i32 {
        self.id
    }

    /// The memory. Other processes change it at any moment, which atomics allow.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        // SAFETY: attach checked that the mapping has the size of Layout; shmat aligns to pages;
        // Layout is made of atomics, for which every bit pattern is valid; and the mapping stays
        // until drop.
        unsafe { self.layout.as_ref() }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the address came from shmat, and no reference into it outlives self.
        unsafe { libc::shmdt(self.layout.as_ptr().cast()) };
    }
}
