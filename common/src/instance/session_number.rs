//! A session's number, which no other session has, and which every attempt of a message names in `LB_ID`: also
//! the one after a reboot, when the ledger is gone. So it is kept with the log, in an extended attribute
//! (`xattr(7)`), beside the place where the session begins. Where the file system has none, or the file may only
//! grow, it is another one after that: better than one that another session had.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

const ATTRIBUTE: &str = "user.pipip.session";
/// Bytes that it has at most: two numbers and a blank.
const LEN_MAX: usize = 40;

/// The number of a session that begins at this byte of the log. Under the log's lock, before anything of the
/// session is in the log.
pub(crate) fn give(log: &File, begun: u64) -> u64 {
    // Random, since a log may be emptied between two sessions: then both begin at the same place.
    let session = RandomState::new().hash_one(());
    let value = format!("{begun} {session:016x}");
    // If it cannot be kept, it goes with the ledger.
    let _ = fsetxattr(log, ATTRIBUTE, value.as_bytes(), XattrFlags::empty());
    session
}

/// The number that the session was given which begins there; or another one.
pub(crate) fn recall(log: &File, begun: u64) -> u64 {
    let mut buffer = [0; LEN_MAX];
    let kept = fgetxattr(log, ATTRIBUTE, &mut buffer).ok().and_then(|len| {
        let (place, session) = str::from_utf8(buffer.get(..len)?).ok()?.split_once(' ')?;
        let session = u64::from_str_radix(session, 16).ok()?;
        (place.parse() == Ok(begun)).then_some(session)
    });
    kept.unwrap_or_else(|| give(log, begun))
}

/// Gives a copy of a log the number that is kept with it.
pub(crate) fn copy(from: &File, to: &File) {
    let mut buffer = [0; LEN_MAX];
    if let Ok(len) = fgetxattr(from, ATTRIBUTE, &mut buffer) {
        // As above.
        let _ = fsetxattr(to, ATTRIBUTE, &buffer[..len], XattrFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::instance;

    #[test]
    fn a_number_is_recalled_where_it_was_given_and_nowhere_else() {
        let (_dir, a) = instance();
        let given = give(a.log(), 70);
        assert_eq!(recall(a.log(), 70), given);
        let (_other_dir, b) = instance();
        copy(a.log(), b.log());
        assert_eq!(recall(b.log(), 70), given);
        let other = recall(a.log(), 71);
        assert_ne!(other, given);
        assert_eq!(recall(a.log(), 71), other, "given, if there was none");
        assert_ne!(give(a.log(), 71), other, "as after the log was emptied");
    }
}
