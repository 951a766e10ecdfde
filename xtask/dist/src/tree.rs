//! What is installed, below a prefix as `/usr/local`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::Binaries;

use crate::external::{Failure, entries, file_error, run};
use crate::workspace::Workspace;
use crate::{PREFIX, command_lines, completions, pages, third_party};

/// Where the package's documents are, below the prefix.
pub(crate) const DOCUMENTS: &str = "share/doc/pipip";
const DOCUMENT_FILES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Containerfile",
    "Containerfile.cluster",
    "compose.yaml",
    "compose.cluster.yaml",
    "worker/examples/answer.rs",
];
/// Files of directories whose names end so.
const DOCUMENT_DIRECTORIES: [(&str, &[&str]); 3] = [
    ("docs", &["md", "svg"]),
    ("dist/systemd", &["service", "conf"]),
    ("worker/examples/handlers", &["awk", "js", "py", "sh"]),
];
/// Where its man pages are.
pub(crate) const PAGES: &str = "share/man/man1";

/// A tree that is being laid out.
pub(crate) struct Tree {
    prefix: PathBuf,
}

impl Tree {
    /// An empty one.
    pub(crate) fn at(prefix: &Path) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// All that archive and package have in common. Completions for zsh are where `zsh_functions` says.
    pub(crate) fn lay_out(
        &self,
        workspace: &Workspace,
        binaries: &Binaries,
        zsh_functions: &str,
    ) -> Result<(), Failure> {
        for command in command_lines::all() {
            let name = command.get_name().to_owned();
            let program = binaries.path(name.trim_start_matches(PREFIX));
            self.write_program(&format!("bin/{name}"), &program)?;
            for (path, script) in completions::of(&command, zsh_functions) {
                self.write(&path, script.as_bytes())?;
            }
            let pages = pages::of(command, workspace).map_err(file_error(Path::new(&name)))?;
            for (file, page) in pages {
                self.write(&format!("{PAGES}/{file}"), &page)?;
            }
        }
        self.copy_documents(workspace)?;
        let units = workspace.root.join("dist/systemd");
        self.copy_all(&units, "service", "lib/systemd/system")?;
        self.copy(&units.join("pipip.sysusers.conf"), "lib/sysusers.d/pipip.conf")?;
        let licences = third_party::licences(workspace)?;
        self.write(&format!("{DOCUMENTS}/THIRD-PARTY.txt"), licences.as_bytes())
    }

    /// Where they are in the repository, so that their links lead somewhere.
    fn copy_documents(&self, workspace: &Workspace) -> Result<(), Failure> {
        for file in DOCUMENT_FILES {
            self.copy(&workspace.root.join(file), &format!("{DOCUMENTS}/{file}"))?;
        }
        for (directory, extensions) in DOCUMENT_DIRECTORIES {
            for extension in extensions {
                let to = format!("{DOCUMENTS}/{directory}");
                self.copy_all(&workspace.root.join(directory), extension, &to)?;
            }
        }
        Ok(())
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn write(&self, path: &str, content: &[u8]) -> Result<(), Failure> {
        let path = self.make_room(path)?;
        fs::write(&path, content).map_err(file_error(&path))?;
        set_mode(&path, 0o644)
    }

    /// Copies a file that is no program.
    pub(crate) fn copy(&self, from: &Path, path: &str) -> Result<(), Failure> {
        self.write(path, &fs::read(from).map_err(file_error(from))?)
    }

    /// Files of a directory whose names end so.
    fn copy_all(&self, from: &Path, extension: &str, to: &str) -> Result<(), Failure> {
        for file in entries(from)? {
            if file.extension().is_some_and(|found| found == extension) {
                let name = file.file_name().unwrap_or_default().display();
                self.copy(&file, &format!("{to}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Without what only a debugger reads.
    fn write_program(&self, path: &str, program: &Path) -> Result<(), Failure> {
        let path = self.make_room(path)?;
        let mut strip = Command::new("strip");
        strip.args(["--strip-unneeded", "--remove-section=.comment", "-o"]).arg(&path).arg(program);
        run(&mut strip)?;
        set_mode(&path, 0o755)
    }

    fn make_room(&self, path: &str) -> Result<PathBuf, Failure> {
        let path = self.prefix.join(path);
        let directory = path.parent().unwrap_or(&self.prefix);
        fs::create_dir_all(directory).map_err(file_error(directory))?;
        // Whatever the umask is.
        let mut made = directory.ancestors().take_while(|above| above.starts_with(&self.prefix));
        made.try_for_each(|directory| set_mode(directory, 0o755))?;
        Ok(path)
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(file_error(path))
}
