//! `sistem.log` as a file: opened, closed to others, and set aside.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use nix::unistd::{Uid, User, geteuid};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags};
use rustix::fs::{openat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use crate::error::Error;
use crate::grammar::LOG_NAME;
use crate::instance::directory::{Directory, OTHERS, id_of};
use crate::instance::lock::{LogLock, Wait};
use crate::instance::objects;
use crate::instance::role;
use crate::instance::session_number;
use crate::program::advice::LOG;

/// What a log that others could open is copied to before it takes its place.
const PRIVATE_NAME: &str = "sistem.log.private";
/// Who gives a file a higher number than this did not get it from us.
const NUMBER_MAX: u32 = 999_999_999;
const NO_FILE: &str = "is not a regular file; the log must be one";

/// Says what is wrong with a file.
pub(crate) fn refused(directory: &Directory, name: &str, why: impl Into<String>) -> Error {
    Error::LogRefused { path: directory.path().join(name), why: why.into() }
}

/// Opens `sistem.log` for appending, and returns its device, inode and birth time. Refuses what only looks like
/// our log; what others can open is closed to them.
pub(crate) fn open(directory: &Directory) -> Result<(File, [u64; 3]), Error> {
    let refuse = |why: String| refused(directory, LOG_NAME, why);
    loop {
        let log = open_private(directory, LOG_NAME, OFlags::CREATE)
            .map_err(|error| not_opened(directory, error))?;
        let metadata = log.metadata().map_err(Error::Log)?;
        check(&metadata).map_err(refuse)?;
        if metadata.mode() & OTHERS == 0 {
            return id_of(&log).map(|id| (log, id)).map_err(Error::Log);
        }
        close_to_others(directory, &log).map_err(|error| match error {
            Error::Log(error) => refuse(format!(
                "can be opened by others, whose locks would stop everybody, and cannot be closed to them: {error}; \
                 remove their rights (`chmod go= {LOG}`)"
            )),
            error => error,
        })?;
    }
}

/// The error of a log that cannot be opened, or made: who may not, reads who may.
#[must_use]
pub fn not_opened(directory: &Directory, error: Errno) -> Error {
    let why = io::Error::from(error).to_string();
    let why = match error {
        Errno::LOOP => "is a symbolic link; the log must be a file of its own".into(),
        Errno::ISDIR => "is a directory; the log must be a file".into(),
        Errno::NXIO => NO_FILE.into(),
        Errno::ACCESS | Errno::PERM => format!("{why}; {}", who_may(directory)),
        Errno::ROFS => format!("{why}; the directory and the log must be writable"),
        _ => why,
    };
    refused(directory, LOG_NAME, why)
}

/// What to say to somebody who may not open the log, or make one: most often, `sudo` was used only once.
fn who_may(directory: &Directory) -> String {
    let is_anothers = |owner: &u32| *owner != geteuid().as_raw();
    let log = statat(directory.file(), LOG_NAME, AtFlags::SYMLINK_NOFOLLOW);
    let log = log.map(|log| log.st_uid).ok().filter(is_anothers);
    let directory = directory.file().metadata().map(|it| it.uid()).ok().filter(is_anothers);
    match (log, directory) {
        (Some(owner), _) => format!("it {}", another_users(owner)),
        (None, Some(owner)) => {
            let (owner, me) = (user(owner), user(geteuid().as_raw()));
            format!(
                "the directory belongs to {owner}, and this runs as {me}: give one that you may write, with --dir"
            )
        }
        (None, None) => "the directory and the log must be writable".into(),
    }
}

fn another_users(owner: u32) -> String {
    let (owner, me) = (user(owner), user(geteuid().as_raw()));
    format!(
        "belongs to {owner}, and this runs as {me}: run all programs of a directory as one user, with `sudo` always or \
         never; `sudo chown {me} {LOG}` gives it to {me}"
    )
}

/// A user's name, or number if it has none.
fn user(id: u32) -> String {
    User::from_uid(Uid::from_raw(id))
        .ok()
        .flatten()
        .map_or_else(|| id.to_string(), |user| user.name)
}

/// Whether a file can be the log; else why not.
fn check(metadata: &Metadata) -> Result<(), String> {
    let is_own = metadata.uid() == geteuid().as_raw();
    match metadata.nlink() {
        _ if !metadata.is_file() => Err(NO_FILE.into()),
        _ if !is_own => Err(another_users(metadata.uid())),
        ..=1 => Ok(()),
        // Who came by another name would have another ledger.
        names => Err(format!("has {names} names (hard links); remove all but this one")),
    }
}

/// Closes a log to others. Who has it open already could still lock it, so a private copy takes its place:
/// but not where one of ours has it open, too, or has a session in it. None of ours comes meanwhile: whoever
/// opens it waits here.
fn close_to_others(directory: &Directory, log: &File) -> Result<(), Error> {
    let copy = open_private(directory, PRIVATE_NAME, OFlags::CREATE)
        .map_err(|error| Error::Log(error.into()))?;
    let _lock = LogLock::wait(&copy, &Wait::Unasked)?; // its own, which others cannot take
    let is_named =
        |name, file| id_of(file).map(|id| directory.len_of(name, id).is_ok()).map_err(Error::Log);
    // Somebody else has done it: with this copy, or with one before it.
    if !is_named(PRIVATE_NAME, &copy)? {
        return Ok(());
    }
    if !is_named(LOG_NAME, log)? {
        return remove_unfinished_copy(directory);
    }
    let ours = copy.metadata().map_err(Error::Log)?;
    if check(&ours).is_err() || ours.mode() & OTHERS != 0 {
        return Err(refused(directory, PRIVATE_NAME, "is in the way: remove it"));
    }
    let is_used = role::is_used(log)? || objects::find_ledger(directory)?.is_some();
    if is_used || replace(directory, log, &copy).is_err() {
        remove_unfinished_copy(directory)?;
        log.set_permissions(Permissions::from_mode(0o600)).map_err(Error::Log)?;
        if log.metadata().map_err(Error::Log)?.mode() & OTHERS != 0 {
            return Err(Error::Log(Errno::NOTSUP.into()));
        }
    }
    Ok(())
}

fn replace(directory: &Directory, mut log: &File, mut copy: &File) -> io::Result<()> {
    copy.set_len(0)?;
    io::copy(&mut log, &mut copy)?;
    session_number::copy(log, copy);
    copy.sync_all()?;
    Ok(renameat(directory.file(), PRIVATE_NAME, directory.file(), LOG_NAME)?)
}

/// Opens a file for appending, closed to others; perhaps it is to be made.
pub fn open_private(directory: &Directory, name: &str, create: OFlags) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | create;
    // Whatever has the name: a FIFO, for example, must not make us wait for its other end.
    let wary = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(directory.file(), name, flags | wary, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Removes what a process left that was killed while it closed a log to others.
pub(crate) fn remove_unfinished_copy(directory: &Directory) -> Result<(), Error> {
    match unlinkat(directory.file(), PRIVATE_NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::Log(error.into())),
    }
}

/// The highest number of a log that was set aside, 0 if there is none. One that was compressed since has its number
/// still.
fn last_number(directory: &Directory) -> Result<u32, Errno> {
    let mut last = 0;
    for entry in Dir::read_from(directory.file())? {
        let number = entry?.file_name().to_str().ok().and_then(|name| {
            let rest = name.strip_prefix(LOG_NAME)?.strip_prefix('.')?;
            rest.split('.').next()?.parse().ok().filter(|&number| number <= NUMBER_MAX)
        });
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}

/// The log that was set aside last, to be looked at.
#[must_use]
pub fn last_set_aside(directory: &Directory) -> Option<File> {
    let name = format!("{LOG_NAME}.{}", last_number(directory).ok()?);
    let wary = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(directory.file(), name, OFlags::RDONLY | wary, Mode::empty()).ok().map(File::from)
}

/// Renames the log to `sistem.log.<i>`, in one step, and returns that name. The numbers ascend, also where older
/// logs have been removed.
pub(crate) fn set_aside(directory: &Directory) -> Result<PathBuf, Error> {
    let dir = directory.file();
    let is_there = |name: &str| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let last = last_number(directory).map_err(|error| Error::Log(error.into()))?;
    for number in last + 1.. {
        let name = format!("{LOG_NAME}.{number}");
        let renamed = match renameat_with(dir, LOG_NAME, dir, &name, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag. Nobody but a stranger makes a file of that name now.
            Err(Errno::INVAL | Errno::NOSYS) if is_there(&name) => Err(Errno::EXIST),
            Err(Errno::INVAL | Errno::NOSYS) => renameat(dir, LOG_NAME, dir, &name),
            renamed => renamed,
        };
        let why = match renamed {
            Ok(()) => return Ok(directory.path().join(name)),
            Err(Errno::EXIST) => continue,
            Err(Errno::BUSY | Errno::XDEV) => "it is a mount point: unmount it, or end its session",
            Err(Errno::PERM) => "it may only grow: allow that (`chattr -a`)",
            Err(error) => &io::Error::from(error).to_string(),
        };
        let why = format!("cannot be renamed: {why}. Nothing was removed");
        return Err(refused(directory, LOG_NAME, why));
    }
    unreachable!("numbers do not end")
}
