//! `sistem.log` as a file: opened, closed to others, and set aside.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::advice::LOG;
use crate::error::Error;
use crate::instance::{Directory, LOG_NAME, id_of};
use crate::pause::pause;
use crate::session;

/// What a log that others could open is copied to before it takes its place.
const PRIVATE_NAME: &str = "sistem.log.private";
/// Group and others.
const OTHERS: u32 = 0o077;
/// How long a lock on a log that others can open is respected: ours take it for less.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Opens `sistem.log` for appending, and tells its device, inode and birth time. Refuses what only looks like
/// our log; what others can open is closed to them.
pub(crate) fn open(directory: &Directory) -> Result<(File, [u64; 3]), Error> {
    let refuse = |why: String| Error::LogRefused { path: directory.path().join(LOG_NAME), why };
    let mut tries = 0;
    loop {
        let log = open_private(directory, LOG_NAME).map_err(|error| match error {
            Errno::LOOP => refuse("is a symbolic link; the log must be a file of its own".into()),
            Errno::ISDIR => refuse("is a directory; the log must be a file".into()),
            Errno::NXIO => refuse("is not a regular file; the log must be one".into()),
            _ => refuse(format!(
                "{}; the directory and the log must be writable",
                io::Error::from(error)
            )),
        })?;
        let metadata = log.metadata().map_err(Error::Log)?;
        if !metadata.is_file() {
            return Err(refuse("is not a regular file; the log must be one".into()));
        }
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(refuse("belongs to another user; the log must be your own".into()));
        }
        if metadata.nlink() > 1 {
            // Who came by another name would have another ledger.
            let why =
                format!("has {} names (hard links); remove all but this one", metadata.nlink());
            return Err(refuse(why));
        }
        if metadata.mode() & OTHERS == 0 {
            return Ok((log, id_of(&metadata)));
        }
        tries += 1;
        let closed =
            if tries > 3 { Err(Errno::NOTSUP.into()) } else { close_to_others(directory, &log) };
        closed.map_err(|error| {
            let mode = metadata.mode() & 0o777;
            refuse(format!(
                "can be opened by others (mode {mode:o}), whose locks would stop everybody, and cannot be \
                 closed to them: {error}; remove their rights (`chmod go= {LOG}`)"
            ))
        })?;
    }
}

/// Closes a log to others. Who has it open already could still lock it, so a private copy takes its place:
/// but not while a session lives in it.
fn close_to_others(directory: &Directory, log: &File) -> io::Result<()> {
    let copy = open_private(directory, PRIVATE_NAME)?;
    copy.lock()?; // one at a time; its own lock, which others cannot take
    let log_id = id_of(&log.metadata()?);
    let is_named = |name, id: [u64; 3]| directory.stat(name).is_ok_and(|named| named.is(id));
    if !is_named(PRIVATE_NAME, id_of(&copy.metadata()?)) || !is_named(LOG_NAME, log_id) {
        return Ok(()); // somebody else has done it
    }
    // No session of ours is begun in it meanwhile.
    let start = Instant::now();
    while matches!(log.try_lock(), Err(TryLockError::WouldBlock)) && start.elapsed() < LOCK_PATIENCE
    {
        pause(Duration::from_millis(1));
    }
    let is_used = session::find(directory).map_err(io::Error::other)?.is_some();
    let replaced = if is_used { Err(Errno::BUSY.into()) } else { replace(directory, log, &copy) };
    if replaced.is_err() {
        unlinkat(directory.file(), PRIVATE_NAME, AtFlags::empty())?;
        log.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn replace(directory: &Directory, mut log: &File, mut copy: &File) -> io::Result<()> {
    copy.set_len(0)?;
    io::copy(&mut log, &mut copy)?;
    copy.sync_all()?;
    Ok(renameat(directory.file(), PRIVATE_NAME, directory.file(), LOG_NAME)?)
}

fn open_private(directory: &Directory, name: &str) -> Result<File, Errno> {
    // NONBLOCK: a FIFO must not make us wait for its other end.
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    openat(directory.file(), name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Removes what a process left that was killed while it closed a log to others.
pub(crate) fn remove_unfinished_copy(directory: &Directory) -> Result<(), Error> {
    match unlinkat(directory.file(), PRIVATE_NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::Log(error.into())),
    }
}

/// Renames the log to the first free `sistem.log.<i>`, in one step, and returns that name.
pub(crate) fn set_aside(directory: &Directory) -> Result<PathBuf, Error> {
    let dir = directory.file();
    for number in 1.. {
        let name = format!("{LOG_NAME}.{number}");
        let renamed = match renameat_with(dir, LOG_NAME, dir, &name, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag. Nobody but a stranger makes a file of that name now.
            Err(Errno::INVAL | Errno::NOSYS) if directory.stat(&name).is_ok() => Err(Errno::EXIST),
            Err(Errno::INVAL | Errno::NOSYS) => renameat(dir, LOG_NAME, dir, &name),
            renamed => renamed,
        };
        let why = match renamed {
            Ok(()) => return Ok(directory.path().join(name)),
            Err(Errno::EXIST) => continue,
            Err(Errno::BUSY | Errno::XDEV) => {
                "is a mount point, which cannot be renamed: unmount it, or finish its session"
                    .into()
            }
            Err(error) => format!("cannot be renamed: {}", io::Error::from(error)),
        };
        let path = directory.path().join(LOG_NAME);
        return Err(Error::LogRefused { path, why: format!("{why}. Nothing was removed") });
    }
    unreachable!("numbers do not end")
}
