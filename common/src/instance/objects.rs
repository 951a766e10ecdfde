//! The IPC objects of a directory: found by their keys, and made under one that is free.

use nix::errno::Errno;

use crate::error::Error;
use crate::fence::shared_memory;
use crate::ledger::Ledger;
use crate::ledger::layout::{Layout, MAGIC};

use super::directory::{Directory, KEY_TRIES, KeyOf, is_own, is_private};

/// How often a key is looked at again whose object went away in between.
const LOOKS: u32 = 100;

type Attach = fn(i32) -> nix::Result<Ledger>;

/// The directory's ledger, if there is one. Changes nothing, and may be asked without the log's lock.
///
/// Looks at *all* keys before giving up: a stranger on the first one may have come, or gone, since
/// ours was made. What cannot be looked at is an error, since a second ledger must not be made beside it.
pub fn find_ledger(directory: &Directory) -> Result<Option<Ledger>, Error> {
    find_by(directory, Ledger::attach)
}

/// The same for whoever only looks: nothing can be written to it.
pub fn find_ledger_to_look(directory: &Directory) -> Result<Option<Ledger>, Error> {
    find_by(directory, Ledger::attach_to_look)
}

fn find_by(directory: &Directory, attach: Attach) -> Result<Option<Ledger>, Error> {
    let mut unpublished = None;
    for key in directory.keys(KeyOf::Segment) {
        match look(directory, key, attach)? {
            Some(ledger) if ledger.is_published() => return Ok(Some(ledger)),
            found => unpublished = unpublished.or(found),
        }
    }
    Ok(unpublished)
}

/// The ledger under a key, if what is there is one of this directory.
fn look(directory: &Directory, key: i32, attach: Attach) -> Result<Option<Ledger>, Error> {
    let path = directory.path().display();
    let object = format_args!("the segment with key {key:#x} of {path}");
    for _ in 0..LOOKS {
        let id = match shared_memory::find(key) {
            Err(Errno::ENOENT) => return Ok(None),
            id => id.map_err(Error::ipc(object, "shmget"))?,
        };
        let stat = match shared_memory::stat(id) {
            Err(Errno::EINVAL | Errno::EIDRM) => continue, // it is gone
            Err(Errno::EACCES) if is_strangers(id) => return Ok(None),
            stat => stat.map_err(Error::ipc(object, "shmctl"))?,
        };
        let permissions = &stat.permissions;
        if permissions.key != key {
            continue; // removed, or its id is another one's by now
        }
        if !is_own(permissions) || stat.size != size_of::<Layout>() {
            return Ok(None);
        }
        let ledger = match attach(id) {
            Err(Errno::EINVAL | Errno::EIDRM) => continue,
            ledger => ledger.map_err(Error::ipc(object, "shmat"))?,
        };
        return match ledger.magic() {
            0 => Ok(Some(ledger).filter(|_| is_private(permissions))),
            MAGIC if ledger.identity()?.directory != directory.id() => Ok(None),
            MAGIC if is_private(permissions) => Ok(Some(ledger)),
            MAGIC => Err(ledger.damaged("others may write to it")),
            _ => Err(ledger.damaged("it is of another version, or its first bytes were changed")),
        };
    }
    Err(Error::ipc(object, "shmctl")(Errno::EIDRM))
}

/// Whether a segment that cannot be looked at belongs to somebody else (`sysvipc(7)`): one of our own that is
/// kept from us must not pass for that.
fn is_strangers(id: i32) -> bool {
    let (id, me) = (id.to_string(), nix::unistd::geteuid().to_string());
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table.lines().any(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        // key shmid perms size cpid lpid nattch uid …
        [_, shmid, _, _, _, _, _, uid, ..] => shmid == id && uid != me,
        _ => false,
    })
}

/// Makes an object under the first of its keys that nobody else has taken. Returns what the call came to.
pub(crate) fn under_free_key<T>(
    directory: &Directory,
    of: KeyOf,
    object: &'static str,
    create: impl Fn(i32) -> nix::Result<T>,
) -> Result<nix::Result<T>, Error> {
    let mut made = directory.keys(of).map(create);
    let made = made.find(|made| !matches!(made, Err(Errno::EEXIST)));
    made.ok_or(Error::KeysTaken { object, tries: KEY_TRIES })
}

/// What came of removing an object: it may have been gone.
pub(crate) fn removed(
    done: nix::Result<()>,
    error: impl FnOnce(Errno) -> Error,
) -> Result<(), Error> {
    match done {
        Err(Errno::EINVAL | Errno::EIDRM) => Ok(()), // somebody else was quicker
        done => done.map_err(error),
    }
}
