//! The metrics as a file that others read at any moment: it is there whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::error::Error;
use nix::fcntl::OFlag;

/// Others may read it.
const MODE: u32 = 0o644;

/// Writes a draft beside the file, which then takes its place. The draft has always the same name: so one that a
/// killed process has left is the next one's, and they do not pile up.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let Some(draft) = draft_of(path) else {
        return Err(failed(path)(io::ErrorKind::IsADirectory.into()));
    };
    let file = open(&draft).map_err(failed(&draft))?;
    let written = fill(&file, text).and_then(|()| fs::rename(&draft, path));
    written.map_err(|error| {
        // What cannot be removed is the next one's.
        let _ = fs::remove_file(&draft);
        failed(path)(error)
    })
}

/// Hidden, and without the end `.prom`, by which collectors find their files.
fn draft_of(path: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    name.push(".new");
    Some(path.with_file_name(name))
}

/// Opens a draft that nobody else is at.
fn open(draft: &Path) -> io::Result<File> {
    loop {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false) // another one may be at it
            .mode(MODE)
            .custom_flags(flags.bits())
            .open(draft)?;
        file.lock()?;
        // Else that one has put it in place meanwhile, or has given up.
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        if fs::symlink_metadata(draft).ok().map(id) == Some(id(file.metadata()?)) {
            return Ok(file);
        }
    }
}

fn fill(mut file: &File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(MODE)) // whatever the umask is
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_one_left_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipip.prom");
        fs::write(dir.path().join(".pipip.prom.new"), "half a file that is longer").unwrap();
        write(&path, "whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_at_once_do_not_write_into_each_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipip.prom");
        let texts = ["a", "b", "c"].map(|text| text.repeat(10_000));
        write(&path, &texts[0]).unwrap();
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..200).for_each(|_| write(&path, text).unwrap()));
            }
            for _ in 0..200 {
                assert!(texts.contains(&fs::read_to_string(&path).unwrap()));
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_of_what_cannot_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipip.prom");
        fs::create_dir(&path).unwrap();
        let error = write(&path, "text").unwrap_err().to_string();
        assert!(error.contains("pipip.prom"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
