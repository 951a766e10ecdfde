//! A host's disk: a small file system of its own, which a file fills up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;

use crate::failure::Failure;

/// What a run of 200 rounds stores is a part of this.
const SIZE: &str = "size=512m";

/// A disk.
#[derive(Debug)]
pub(crate) struct Disk {
    filler: PathBuf,
}

impl Disk {
    /// Mounts one on this directory; it is unmounted with the mount namespace.
    pub(crate) fn mount(directory: &Path) -> Result<Self, Failure> {
        let mounted = mount(Some("hosts"), directory, Some("tmpfs"), MsFlags::empty(), Some(SIZE));
        mounted.map_err(Failure::system(directory.display().to_string()))?;
        Ok(Self { filler: directory.join("filler") })
    }

    /// From now on nothing can be written.
    pub(crate) fn fill(&self) -> Result<(), Failure> {
        let name = || self.filler.display().to_string();
        let file = File::create(&self.filler).map_err(Failure::system(name()))?;
        // What is free may grow less meanwhile; then there is nothing left to be taken.
        for _ in 0..100 {
            let at = file.metadata().map_err(Failure::system(name()))?.len();
            let free = statvfs(&self.filler).map_err(Failure::system(name()))?;
            let free = free.blocks_free() * free.fragment_size();
            if free == 0 {
                break;
            }
            let [at, free] = [at, free].map(u64::cast_signed);
            match fallocate(&file, FallocateFlags::empty(), at, free) {
                Ok(()) | Err(Errno::ENOSPC) => {}
                Err(error) => return Err(Failure::system(name())(error)),
            }
        }
        Ok(())
    }

    /// There is room again.
    pub(crate) fn free(&self) -> Result<(), Failure> {
        fs::remove_file(&self.filler).map_err(Failure::system(self.filler.display().to_string()))
    }
}
