//! An instance is a directory: its `sistem.log`, the locks on that file which show who is alive, and
//! the keys of its IPC objects.

pub mod directory;
pub mod line_file;
pub(crate) mod lock;
pub mod log_file;
pub mod objects;
pub mod role;
mod roles;
pub(crate) mod session_number;
pub mod waiting;

use std::fs::File;
use std::path::Path;

use crate::error::Error;
use crate::grammar::LOG_NAME;
use crate::ledger::Identity;

use directory::Directory;

/// An opened instance. Keeps `sistem.log` open, and with it the roles it holds.
#[derive(Debug)]
pub struct Instance {
    directory: Directory,
    log: File,
    /// Device, inode, birth time.
    log_id: [u64; 3],
}

impl Instance {
    /// Opens the directory and its log, which is made if there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::of(Directory::open(path)?)
    }

    /// Opens the log of a directory.
    pub fn of(directory: Directory) -> Result<Self, Error> {
        let (log, log_id) = log_file::open(&directory)?;
        let directory = directory.again()?; // something may have been made in it
        Ok(Self { directory, log, log_id })
    }

    /// Opens the log again that now has the name. Roles in the one before are given back.
    pub fn reopen(&mut self) -> Result<(), Error> {
        (self.log, self.log_id) = log_file::open(&self.directory)?;
        Ok(())
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
        Identity { directory: self.directory.id(), log: self.log_id }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::directory::{KEY_TRIES, KeyOf};
    use super::role::Role;
    use super::*;
    use crate::grammar::rotation::Workers;

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
}
