//! Where the product's programs are. `cargo test` builds only the tests, so they are built here.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::cargo::{Profile, Progress, build, build_in};

/// Which of the product's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// What takes part in a run: `client`, `loadbalancer`, `worker`.
    System,
    /// `lbctl`, too. With all that it needs, its build takes longer than that of the others together.
    All,
}

impl Programs {
    fn packages(self) -> &'static [&'static str] {
        let all = &["-p", "client", "-p", "loadbalancer", "-p", "worker", "-p", "lbctl"];
        if self == Self::All { all } else { &all[..6] }
    }
}

/// The programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// For tests: builds them, once a process, if they are not up to date.
    #[must_use]
    pub fn build(profile: Profile) -> &'static Self {
        static DEV: OnceLock<Binaries> = OnceLock::new();
        static RELEASE: OnceLock<Binaries> = OnceLock::new();
        let built = match profile {
            Profile::Dev => &DEV,
            Profile::Release => &RELEASE,
        };
        built.get_or_init(|| {
            let program = build(Programs::All.packages(), profile, Progress::Quiet);
            Self::beside(&program.unwrap_or_else(|why| panic!("{why}")))
        })
    }

    /// For tools: what `--programs` named, or without it this workspace's, built once a process.
    pub fn or_built(
        named: Option<&Self>,
        profile: Profile,
        wanted: Programs,
    ) -> Result<&Self, String> {
        static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();
        let built = || {
            let program = build(wanted.packages(), profile, Progress::Shown);
            program.map(|program| Self::beside(&program))
        };
        named.map_or_else(|| BUILT.get_or_init(built).as_ref().map_err(String::clone), Ok)
    }

    /// For tools: builds the example of a package.
    pub fn build_example(package: &str, name: &str, profile: Profile) -> Result<PathBuf, String> {
        build(&["-p", package, "--example", name], profile, Progress::Shown)
    }

    /// For tools: builds a package that is no part of the local product, and returns its program.
    pub fn build_program(package: &str, profile: Profile) -> Result<PathBuf, String> {
        build(&["-p", package], profile, Progress::Shown)
    }

    /// For tools: builds the program of a package that is no member of the workspace, with these of its features.
    pub fn build_apart(directory: &str, features: &str) -> Result<PathBuf, String> {
        let what = ["--locked", "--features", features];
        build_in(directory, &what, Profile::Release, Progress::Shown)
    }

    /// The handler of `tests/src/bin/unruly.rs`. It is none of the product's, so the profile is always the tests'.
    #[must_use]
    pub fn unruly() -> &'static Path {
        static UNRULY: OnceLock<PathBuf> = OnceLock::new();
        UNRULY.get_or_init(|| built(&["-p", "tests", "--bin", "unruly"]))
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

    /// For the option of a tool, `--programs DIR`: those of [`Self::at`].
    #[must_use]
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        PathBufValueParser::new().try_map(|directory| Self::at(&directory))
    }

    fn beside(program: &Path) -> Self {
        Self { directory: program.parent().expect("a program is in a directory").to_owned() }
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

/// For tests: builds what these arguments of `cargo build` name, and returns the program.
#[must_use]
pub fn built(what: &[&str]) -> PathBuf {
    build(what, Profile::Dev, Progress::Quiet).unwrap_or_else(|why| panic!("{why}"))
}
