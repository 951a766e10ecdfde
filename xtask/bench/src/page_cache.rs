//! Has everyone write into the same kind of memory.
//!
//! Nobody's log reaches the disk before it is removed: all of them write into the kernel's page
//! cache, nobody calls fsync, and what is measured is the speed of that memory. (Logs of several
//! gigabytes are held up for the disk once too much waits for it; `--dir` on a tmpfs avoids that.)
//!
//! It is not all equally fast. On a virtual machine, pages that were not used for a while may have
//! to be fetched from the machine below at the first touch: the 679 MB of 10^7 messages took 0.12 s
//! of processor time on pages that a file just removed had left, and up to 1.2 s otherwise. Holding
//! or reading another copy of the log uses the warm pages up, so it is not enough to remove that
//! one. So right before the clock of our job and of the limit starts, a file of the same length is
//! written and removed. Without it the limit came out slower than our job.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file of this length into the directory and removes it.
pub(super) fn leave_pages(dir: &Path, len: u64) -> io::Result<()> {
    const CHUNK: &[u8] = &[0; 1 << 20];
    let path = dir.join("pages");
    let mut file = File::create_new(&path)?;
    for _ in 0..len.div_ceil(CHUNK.len() as u64) {
        file.write_all(CHUNK)?;
    }
    drop(file);
    std::fs::remove_file(path)
}
