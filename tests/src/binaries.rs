//! Where the product's programs are. `cargo test` builds only the tests, so they are built here.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::builder::{PathBufValueParser, TypedValueParser};
use escargot::CargoBuild;

use crate::temp_dir::unless_ending;

/// Which build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`.
    Dev,
    /// `cargo build --release`.
    Release,
}

/// The programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Builds them, once a process, if they are not up to date.
    #[must_use]
    pub fn build(profile: Profile) -> &'static Self {
        static DEV: OnceLock<Binaries> = OnceLock::new();
        static RELEASE: OnceLock<Binaries> = OnceLock::new();
        match profile {
            Profile::Dev => DEV.get_or_init(|| Self::build_now(profile)),
            Profile::Release => RELEASE.get_or_init(|| Self::build_now(profile)),
        }
    }

    /// The handler of `tests/src/bin/unruly.rs`. It is none of the product's, so the profile is always the tests'.
    #[must_use]
    pub fn unruly() -> &'static Path {
        static UNRULY: OnceLock<PathBuf> = OnceLock::new();
        UNRULY.get_or_init(|| {
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
            let build = escargot::CargoBuild::new().manifest_path(manifest).bin("unruly").run();
            build.unwrap_or_else(|error| panic!("building unruly: {error}")).path().to_owned()
        })
    }

    fn build_now(profile: Profile) -> Self {
        let mut directory = PathBuf::new();
        for package in ["client", "worker", "loadbalancer", "lbctl"] {
            let program = built(package, profile, |build| build.bin(package));
            program.parent().expect("a program is in a directory").clone_into(&mut directory);
        }
        Self { directory }
    }

    /// Builds an example of a package, and returns where it is.
    #[must_use]
    pub fn build_example(package: &str, name: &str, profile: Profile) -> PathBuf {
        built(package, profile, |build| build.example(name))
    }

    /// Programs that were built elsewhere (all in one directory). Older builds have no `lbctl`: who needs it
    /// notices.
    pub fn at(directory: &Path) -> Result<Self, String> {
        let missing = |path: &Path, error| format!("{}: {error}", path.display());
        // They are started in other directories.
        let absolute = directory.canonicalize().map_err(|error| missing(directory, error))?;
        let binaries = Self { directory: absolute };
        for program in ["client", "loadbalancer", "worker"] {
            let path = binaries.path(program);
            path.metadata().map_err(|error| missing(&path, error))?;
        }
        Ok(binaries)
    }

    /// For an option of a tool, `--programs DIR`: those of [`Self::at`].
    #[must_use]
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        PathBufValueParser::new().try_map(|directory| Self::at(&directory))
    }

    /// What that option named, or without it this workspace's, built now.
    #[must_use]
    pub fn or_built(named: Option<&Self>, profile: Profile) -> &Self {
        named.unwrap_or_else(|| Self::build(profile))
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of `client`, `loadbalancer`, `worker` or `lbctl`.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }
}

fn built(package: &str, profile: Profile, what: impl Fn(CargoBuild) -> CargoBuild) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let build = what(CargoBuild::new().manifest_path(manifest).package(package));
    let build = if profile == Profile::Release { build.release() } else { build };
    let program = build.run().unwrap_or_else(|error| {
        drop(unless_ending());
        panic!("building {package}: {error}")
    });
    program.path().to_owned()
}
