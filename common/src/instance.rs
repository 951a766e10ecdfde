//! An instance is a directory: its `sistem.log`, the locks on that file which tell who is alive, and
//! the keys of its IPC objects. Nothing needs configuring, and two directories never meet.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::{AtFlags, Statx, StatxFlags, makedev, statx};
use rustix::io::Errno;

use crate::checksum;
use crate::error::Error;
use crate::fence::Permissions;
use crate::ledger::Identity;
use crate::log_file;
use crate::role::Role;
use crate::rotation::WorkerId;

/// The log's name in its directory.
pub const LOG_NAME: &str = "sistem.log";
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

/// The directory of an instance, and what tells it from every other one. It is opened once: whatever its
/// path names later, this is the directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    file: File,
    /// Device, inode, birth time.
    id: [u64; 3],
}

/// An opened instance. Keeps `sistem.log` open, and with it the roles it holds.
#[derive(Debug)]
pub struct Instance {
    directory: Directory,
    log: File,
    /// Device, inode, birth time.
    log_id: [u64; 3],
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

    /// The length of a file in it, after a check that the name still stands for it.
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

impl Instance {
    /// Opens the directory and its log, which is made if there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::of(Directory::open(path)?)
    }

    /// Opens the log of a directory.
    pub fn of(directory: Directory) -> Result<Self, Error> {
        let (log, log_id) = log_file::open(&directory)?;
        // An overlay file system copies a directory up from a lower layer when something is made in it,
        // which gives it another birth time.
        let directory = Directory::of(&directory.path, directory.file)?;
        Ok(Self { directory, log, log_id })
    }

    /// Opens the log again that now has the name. Roles in the one before are given back.
    pub fn reopen(&mut self) -> Result<(), Error> {
        (self.log, self.log_id) = log_file::open(&self.directory)?;
        Ok(())
    }

    /// The same for whoever goes on with his role, which he has all the while in one log or the other.
    pub fn reopen_as(&mut self, role: Role) -> Result<(), Error> {
        let (log, log_id) = log_file::open(&self.directory)?;
        let _before = std::mem::replace(&mut self.log, log);
        self.log_id = log_id;
        self.go_on_as(role)
    }

    /// The directory, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The open log.
    #[must_use]
    pub fn log(&self) -> &File {
        &self.log
    }

    /// What a ledger must say to be this instance's.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { directory: self.directory.id, log: self.log_id }
    }

    /// The log's length, after a check that its path still names the open file.
    pub fn checked_log_len(&self) -> Result<u64, Error> {
        self.directory.len_of(LOG_NAME, self.log_id)
    }

    /// Whether its path names another file by now, or none.
    #[must_use]
    pub fn is_log_replaced(&self) -> bool {
        matches!(self.checked_log_len(), Err(Error::LogReplaced))
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
pub(crate) mod tests {
    use super::*;
    use crate::role::Role;
    use crate::rotation::Workers;

    /// One in a directory of its own.
    pub(crate) fn instance() -> (tempfile::TempDir, Instance) {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        (dir, instance)
    }

    #[test]
    fn directories_differ_in_keys() {
        let (_a_dir, a) = instance();
        let (_b_dir, b) = instance();
        let keys = |i: &Instance| i.directory().keys(KeyOf::Segment).collect::<Vec<_>>();
        assert_ne!(keys(&a), keys(&b));
        assert_eq!(keys(&a).len(), KEY_TRIES as usize);
        assert_eq!(
            keys(&a),
            keys(&Instance::open(a.path()).unwrap()),
            "opened again, the same keys"
        );
        assert!(keys(&a).iter().all(|&key| key > 0));
    }

    #[test]
    fn roles_are_exclusive_but_for_clients() {
        let (_dir, a) = instance();
        let b = Instance::open(a.path()).unwrap();
        let balancer = Role::Balancer(Workers::new(3).unwrap());
        a.hold(balancer).unwrap();
        a.hold(Role::Client).unwrap();
        b.hold(Role::Client).unwrap();
        assert!(b.is_held_by_another(balancer).unwrap());
        assert_eq!(b.balancer_workers().unwrap(), Workers::new(3).ok());
        assert!(!a.is_held_by_another(balancer).unwrap(), "one's own is not another's");
        assert!(matches!(b.hold(balancer), Err(Error::RoleTaken(_))));
        drop(a);
        b.hold(balancer).unwrap();
    }

    #[test]
    fn a_log_set_aside_never_replaces_another() {
        let (dir, a) = instance();
        std::fs::write(dir.path().join("sistem.log.1"), "older").unwrap();
        let name = log_file::set_aside(a.directory()).unwrap();
        assert!(name.ends_with("sistem.log.2"));
        assert!(a.is_log_replaced());
    }

    /// Else the newest would have the number of the oldest, or be written over when it is compressed, too.
    #[test]
    fn numbers_of_logs_that_are_gone_or_compressed_are_not_given_again() {
        let (dir, mut a) = instance();
        for (there, next) in [("7", "8"), ("9.gz", "10"), ("old", "11"), ("99999999999", "12")] {
            std::fs::write(dir.path().join(format!("sistem.log.{there}")), "").unwrap();
            let name = log_file::set_aside(a.directory()).unwrap();
            assert!(name.ends_with(format!("sistem.log.{next}")), "{}", name.display());
            a.reopen().unwrap();
        }
    }

    /// A client that came just then said that no load balancer is running; a second load balancer got the role, and the
    /// first one ended.
    #[test]
    fn a_balancer_on_its_way_to_another_log_was_missed() {
        let (_dir, mut balancer) = instance();
        let workers = Workers::new(3).unwrap();
        balancer.hold(Role::Balancer(workers)).unwrap();
        log_file::set_aside(balancer.directory()).unwrap();
        let client = Instance::open(balancer.path()).unwrap();
        assert_eq!(client.balancer_workers().unwrap(), Some(workers));
        assert!(matches!(client.hold(Role::Balancer(workers)), Err(Error::RoleTaken(_))));
        balancer.reopen_as(Role::Balancer(workers)).unwrap();
        assert_eq!(client.balancer_workers().unwrap(), Some(workers));
        drop(balancer);
        assert_eq!(client.balancer_workers().unwrap(), None);
    }

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
