//! A directory, what distinguishes it from every other one, and the keys of its IPC objects. Nothing needs configuring.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::{AtFlags, Statx, StatxFlags, makedev, statx};
use rustix::io::Errno;

use crate::error::Error;
use crate::fence::Permissions;
use crate::grammar::rotation::WorkerId;
use crate::ledger::checksum;

/// Keys tried before giving up, when others sit on ours.
pub const KEY_TRIES: u32 = 16;
/// What group and others may do, of a mode.
pub(crate) const OTHERS: u32 = 0o077;

/// Which IPC object a key is for.
#[derive(Clone, Copy, Debug)]
pub enum KeyOf {
    /// The ledger.
    Segment,
    /// Worker k's message queue.
    Queue(WorkerId),
}

/// The directory of an instance, and what distinguishes it from every other one. It is opened once: whatever its
/// path names later, this is the directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    file: File,
    /// Device, inode, birth time.
    id: [u64; 3],
}

impl Directory {
    /// Opens it. Nothing is made or changed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
        Self::of(path, file.map_err(|source| Error::Directory { path: path.to_owned(), source })?)
    }

    /// Takes one that is open already; the path is how to name it.
    pub fn of(path: &Path, file: File) -> Result<Self, Error> {
        let path = path.to_owned();
        let id = id_of(&file).map_err(|source| Error::Directory { path: path.clone(), source })?;
        Ok(Self { path, file, id })
    }

    /// The same as it is now. An overlay file system copies a directory up from a lower layer when something is made in
    /// it, which gives it another birth time.
    pub(crate) fn again(self) -> Result<Self, Error> {
        Self::of(&self.path, self.file)
    }

    /// The directory, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Device, inode and birth time: what a ledger must say to be this directory's.
    #[must_use]
    pub fn id(&self) -> [u64; 3] {
        self.id
    }

    /// The keys to try for an object, in order. Like `ftok(3)`, but of the whole device and inode
    /// numbers and the birth time instead of 24 bits of them.
    pub fn keys(&self, of: KeyOf) -> impl Iterator<Item = i32> + use<> {
        keys(self.id, of)
    }

    /// Puts names in it on the disk (`fsync(2)`).
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::Log)
    }

    /// The length of a file in it, after a check that the name still means it.
    pub(crate) fn len_of(&self, name: &str, id: [u64; 3]) -> Result<u64, Error> {
        // Not its times: on Linux 6.13 and later, once they were asked for, the next write must give it a
        // new one, which costs as much as the write itself (ext4: 3.6 µs for both calls instead of 2.3).
        let wanted = StatxFlags::INO | StatxFlags::SIZE;
        match statx(&self.file, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) if [device(&stat), stat.stx_ino] == id[..2] => Ok(stat.stx_size),
            Ok(_) | Err(Errno::NOENT) => Err(Error::LogReplaced),
            Err(error) => Err(Error::Log(error.into())),
        }
    }
}

/// The keys of a directory with these numbers, which may be gone.
pub fn keys([device, inode, born]: [u64; 3], of: KeyOf) -> impl Iterator<Item = i32> + use<> {
    let object = match of {
        KeyOf::Segment => 0,
        KeyOf::Queue(worker) => u64::from(worker.get()),
    };
    (0..KEY_TRIES).map(move |attempt| {
        let hash = checksum::of([device, inode, born, object, attempt.into()]);
        // IPC_PRIVATE is 0, and ipcs is easier to read without signs.
        ((hash as i32) & i32::MAX).max(1)
    })
}

/// The kind of the message that marks a queue as one of such a directory's. None that is sent is of it: those are
/// small numbers.
#[must_use]
pub fn mark([device, inode, born]: [u64; 3]) -> i64 {
    let hash = checksum::of([device, inode, born, u64::MAX]);
    (hash >> 1 | 1 << 62).cast_signed()
}

/// Device, inode and birth time: an inode number alone is used again. Not every file system knows the last:
/// then the inode has to do. But a look that fails must not pass for that, or there would be other keys.
pub(crate) fn id_of(file: &File) -> std::io::Result<[u64; 3]> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
    let knows_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = stat.stx_btime.tv_sec.cast_unsigned() * 1_000_000_000;
    let born = if knows_birth { born + u64::from(stat.stx_btime.tv_nsec) } else { 0 };
    Ok([device(&stat), stat.stx_ino, born])
}

fn device(stat: &Statx) -> u64 {
    makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// Whether an IPC object was made, and is owned, by this user.
pub(crate) fn is_own(permissions: &Permissions) -> bool {
    [permissions.owner, permissions.creator] == [nix::unistd::geteuid().as_raw(); 2]
}

/// Whether an IPC object may be ours: made and owned by this user, and closed to everyone else.
#[must_use]
pub fn is_private(permissions: &Permissions) -> bool {
    is_own(permissions) && permissions.mode & OTHERS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_let_others_in_are_not_private() {
        let me = nix::unistd::geteuid().as_raw();
        let of = |owner, creator, mode| is_private(&Permissions { key: 1, owner, creator, mode });
        assert!(of(me, me, 0o600));
        assert!(!of(me, me, 0o604));
        assert!(!of(me, me, 0o660));
        assert!(!of(me + 1, me, 0o600));
        assert!(!of(me, me + 1, 0o600));
    }
}
