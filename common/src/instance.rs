//! An instance is a directory: its `sistem.log`, the locks on that file which tell who is alive, and
//! the keys of its IPC objects. Nothing needs configuring, and two directories never meet.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{AtFlags, StatxFlags, makedev, statx};
use rustix::io::Errno;

use crate::checksum;
use crate::error::Error;
use crate::fence::Permissions;
use crate::ledger::Identity;
use crate::pause::pause;
use crate::role::{Role, byte_lock};
use crate::rotation::WorkerId;

/// The log's name in its directory.
pub const LOG_NAME: &str = "sistem.log";
/// Keys tried before giving up, when others sit on ours.
pub const KEY_TRIES: u32 = 16;
/// How long a role is asked for: a child of a dead process holds its locks until it has exec'ed.
const ROLE_PATIENCE: Duration = Duration::from_secs(2);

/// Which IPC object a key is for.
#[derive(Clone, Copy, Debug)]
pub enum KeyOf {
    /// The ledger.
    Segment,
    /// Worker k's message queue.
    Queue(WorkerId),
}

/// The directory of an instance, and what tells it from every other one.
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
        Self::of(path, open_directory(path)?)
    }

    /// Asks for its numbers. Whoever makes something in it does that first: an overlay file system then copies
    /// a directory up from a lower layer, which gives it another birth time.
    fn of(path: &Path, file: File) -> Result<Self, Error> {
        let metadata = file.metadata();
        let metadata =
            metadata.map_err(|source| Error::Directory { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, id: id_of(&metadata) })
    }

    /// Device, inode and birth time: what a ledger must say to be this directory's.
    #[must_use]
    pub fn id(&self) -> [u64; 3] {
        self.id
    }

    /// The keys to try for an object, in order. Like `ftok(3)`, but of the whole device and inode
    /// numbers and the birth time instead of 24 bits of them.
    pub fn keys(&self, of: KeyOf) -> impl Iterator<Item = i32> + '_ {
        let object = match of {
            KeyOf::Segment => 0,
            KeyOf::Queue(worker) => u64::from(worker.get()),
        };
        (0..KEY_TRIES).map(move |attempt| {
            let words = [self.id[0], self.id[1], self.id[2], object, attempt.into()];
            let hash = checksum::of(words);
            // IPC_PRIVATE is 0, and ipcs is easier to read without signs.
            ((hash as i32) & i32::MAX).max(1)
        })
    }
}

impl Instance {
    /// Opens the directory and its log, which is made if there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let directory = open_directory(path)?;
        let (log, log_id) = open_log(path)?;
        Ok(Self { directory: Directory::of(path, directory)?, log, log_id })
    }

    /// The directory, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory.path
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

    /// Makes the log's directory entry survive a power loss.
    pub fn sync_directory(&self) -> Result<(), Error> {
        self.directory.file.sync_all().map_err(Error::Log)
    }

    /// What a ledger must say to be this instance's.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { directory: self.directory.id, log: self.log_id }
    }

    /// The log's length, after a check that its path still names the open file.
    pub fn checked_log_len(&self) -> Result<u64, Error> {
        let [device, inode, _] = self.log_id;
        // Not its times: on Linux 6.13 and later, once they were asked for, the next write must give it a
        // new one, which costs as much as the write itself (ext4: 3.6 µs for both calls instead of 2.3).
        let wanted = StatxFlags::INO | StatxFlags::SIZE;
        match statx(&self.directory.file, LOG_NAME, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(named)
                if makedev(named.stx_dev_major, named.stx_dev_minor) == device
                    && named.stx_ino == inode =>
            {
                Ok(named.stx_size)
            }
            Ok(_) | Err(Errno::NOENT) => Err(Error::LogReplaced),
            Err(error) => Err(Error::Log(error.into())),
        }
    }

    /// Takes a role, until it is given back or this process ends.
    pub fn hold(&self, role: Role) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            match fcntl(&self.log, FcntlArg::F_OFD_SETLK(&role.lock())) {
                Ok(_) => return Ok(()),
                Err(nix::Error::EAGAIN | nix::Error::EACCES | nix::Error::EINTR) => {
                    if start.elapsed() > ROLE_PATIENCE {
                        return Err(Error::RoleTaken(role.name()));
                    }
                    pause(Duration::from_millis(20));
                }
                Err(error) => return Err(Error::Log(error.into())),
            }
        }
    }

    /// Gives a role back.
    pub fn release(&self, role: Role) -> Result<(), Error> {
        let unlock = byte_lock(libc::F_UNLCK, role.byte());
        fcntl(&self.log, FcntlArg::F_OFD_SETLK(&unlock)).map(drop).map_err(|e| Error::Log(e.into()))
    }

    /// Whether another process has the role.
    pub fn is_held_by_another(&self, role: Role) -> Result<bool, Error> {
        self.is_locked_by_another(byte_lock(libc::F_WRLCK, role.byte()))
    }

    /// Whether no other process has any role.
    pub fn is_alone(&self) -> Result<bool, Error> {
        let mut all = byte_lock(libc::F_WRLCK, Role::Balancer.byte());
        all.l_len = 0; // to the end
        self.is_locked_by_another(all).map(|locked| !locked)
    }

    fn is_locked_by_another(&self, mut probe: libc::flock) -> Result<bool, Error> {
        fcntl(&self.log, FcntlArg::F_OFD_GETLK(&mut probe)).map_err(|e| Error::Log(e.into()))?;
        Ok(i32::from(probe.l_type) != libc::F_UNLCK)
    }

    /// The keys to try for an object, in order.
    pub fn keys(&self, of: KeyOf) -> impl Iterator<Item = i32> + '_ {
        self.directory.keys(of)
    }

    /// Renames the log to the first free `sistem.log.<i>`, and returns that name.
    pub fn set_log_aside(&self) -> Result<PathBuf, Error> {
        let mut number = 1;
        loop {
            let name = self.path().join(format!("{LOG_NAME}.{number}"));
            // A link fails where a rename would replace.
            match std::fs::hard_link(self.path().join(LOG_NAME), &name) {
                Ok(()) => break std::fs::remove_file(self.path().join(LOG_NAME)).map(|()| name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => break Err(error),
            }
        }
        .map_err(Error::Log)
    }
}

/// Device, inode and birth time: an inode number alone is used again.
fn id_of(metadata: &Metadata) -> [u64; 3] {
    let born = metadata
        .created() // not every file system knows it: then the inode has to do
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_nanos() as u64);
    [metadata.dev(), metadata.ino(), born]
}

fn open_directory(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    file.map_err(|source| Error::Directory { path: path.to_owned(), source })
}

/// Opens `sistem.log` for appending, and tells its numbers; refuses what only looks like our log.
fn open_log(directory: &Path) -> Result<(File, [u64; 3]), Error> {
    let path = directory.join(LOG_NAME);
    let refuse = |why: &str| Error::LogRefused { path: path.clone(), why: why.to_owned() };
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        // NONBLOCK: a FIFO must not make us wait for its other end.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&path);
    let log = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => refuse("is a symbolic link; the log must be a file of its own"),
        Some(libc::EISDIR) => refuse("is a directory; the log must be a file"),
        Some(libc::ENXIO) => refuse("is not a regular file; the log must be one"),
        _ => refuse(&format!("{error}; the directory and the log must be writable")),
    })?;
    let metadata = log.metadata().map_err(Error::Log)?;
    if !metadata.is_file() {
        return Err(refuse("is not a regular file; the log must be one"));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(refuse("belongs to another user; the log must be your own"));
    }
    let id = id_of(&metadata);
    Ok((log, id))
}

/// Whether an IPC object may be ours: made and owned by this user, and closed to everyone else.
#[must_use]
pub fn is_private(permissions: &Permissions) -> bool {
    const OTHERS: u32 = 0o077;
    let me = nix::unistd::geteuid().as_raw();
    permissions.owner == me && permissions.creator == me && permissions.mode & OTHERS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> (tempfile::TempDir, Instance) {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        (dir, instance)
    }

    #[test]
    fn directories_differ_in_keys() {
        let (_a_dir, a) = instance();
        let (_b_dir, b) = instance();
        let keys = |i: &Instance| i.keys(KeyOf::Segment).collect::<Vec<_>>();
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
        a.hold(Role::Balancer).unwrap();
        a.hold(Role::Client).unwrap();
        b.hold(Role::Client).unwrap();
        assert!(b.is_held_by_another(Role::Balancer).unwrap());
        assert!(!a.is_held_by_another(Role::Balancer).unwrap(), "one's own is not another's");
        assert!(matches!(b.hold(Role::Balancer), Err(Error::RoleTaken(_))));
        drop(a);
        b.hold(Role::Balancer).unwrap();
    }

    #[test]
    fn a_log_set_aside_never_replaces_another() {
        let (dir, a) = instance();
        std::fs::write(dir.path().join("sistem.log.1"), "older").unwrap();
        let name = a.set_log_aside().unwrap();
        assert!(name.ends_with("sistem.log.2"));
        assert!(matches!(a.checked_log_len(), Err(Error::LogReplaced)));
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
