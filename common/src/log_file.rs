//! `sistem.log` as a file: opened, closed to others, and set aside.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::advice::LOG;
use crate::error::Error;
use crate::instance::{Directory, LOG_NAME, id_of};
use crate::lock::LogLock;
use crate::role;
use crate::session;

/// What a log that others could open is copied to before it takes its place.
const PRIVATE_NAME: &str = "sistem.log.private";
/// Group and others.
const OTHERS: u32 = 0o077;

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
            Errno::ACCESS | Errno::PERM | Errno::ROFS => refuse(format!(
                "{}; the directory and the log must be writable",
                io::Error::from(error)
            )),
            _ => refuse(io::Error::from(error).to_string()),
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
            let id = id_of(&log).map_err(Error::Log)?;
            return Ok((log, id));
        }
        tries += 1;
        let closed = if tries > 3 { Err(Errno::NOTSUP.into()) } else { Ok(()) };
        match closed.map_err(Error::Log).and_then(|()| close_to_others(directory, &log)) {
            Err(Error::Log(error)) => {
                let mode = metadata.mode() & 0o777;
                return Err(refuse(format!(
                    "can be opened by others (mode {mode:o}), whose locks would stop everybody, and cannot be \
                     closed to them: {error}; remove their rights (`chmod go= {LOG}`)"
                )));
            }
            closed => closed?,
        }
    }
}

/// Closes a log to others. Who has it open already could still lock it, so a private copy takes its place:
/// but not where one of ours has it open, too, or has a session in it. None of ours comes meanwhile: whoever
/// opens it waits here.
fn close_to_others(directory: &Directory, log: &File) -> Result<(), Error> {
    let copy = open_private(directory, PRIVATE_NAME).map_err(|error| Error::Log(error.into()))?;
    let _lock = LogLock::wait(&copy, || ())?; // its own, which others cannot take
    let is_named = |name, id: [u64; 3]| directory.stat(name).is_ok_and(|named| named.is(id));
    let [log_id, copy_id] = [id_of(log).map_err(Error::Log)?, id_of(&copy).map_err(Error::Log)?];
    if !is_named(PRIVATE_NAME, copy_id) || !is_named(LOG_NAME, log_id) {
        return Ok(()); // somebody else has done it
    }
    let ours = copy.metadata().map_err(Error::Log)?;
    if !is_own(&ours) || ours.nlink() > 1 || ours.mode() & OTHERS != 0 {
        let path = directory.path().join(PRIVATE_NAME);
        return Err(Error::LogRefused { path, why: "is in the way: remove it".to_owned() });
    }
    let is_used = role::is_used(log)? || session::find(directory)?.is_some();
    if is_used || replace(directory, log, &copy).is_err() {
        remove_unfinished_copy(directory)?;
        log.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(Error::Log)?;
    }
    Ok(())
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.uid() == nix::unistd::geteuid().as_raw()
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
            Err(Errno::PERM) => {
                "cannot be renamed if it may only grow: allow that (`chattr -a`)".into()
            }
            Err(error) => format!("cannot be renamed: {}", io::Error::from(error)),
        };
        let path = directory.path().join(LOG_NAME);
        return Err(Error::LogRefused { path, why: format!("{why}. Nothing was removed") });
    }
    unreachable!("numbers do not end")
}
