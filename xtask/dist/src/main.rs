//! dist - make an archive and a Debian package of the programs: `cargo xtask dist --help`
//!
//! Both hold the same tree ([`tree`]): programs, man pages, completions, unit files, documents, licences. The archive
//! is unpacked anywhere, the package below `/usr`. The same sources at the same place give the same bytes.
#![forbid(unsafe_code)]

mod archive;
mod command_lines;
mod completions;
mod debian;
mod depends;
mod external;
mod pages;
mod third_party;
mod tree;
mod workspace;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use common::error::exit;
use tests::{Binaries, Profile, Programs, TempDir};

use external::{Failure, file_error};
use workspace::Workspace;

/// What the programs' names begin with, where they are installed.
const PREFIX: &str = "pipip-";
/// What archive and package are called.
const NAME: &str = "pipip";
/// All of the workspace have the same.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Make an archive and a Debian package of the programs.
///
/// They hold the programs under the prefix `pipip-`, man pages, completions for bash, zsh and fish, unit files,
/// documents and licences. Prints the path of each one made. The same sources give the same bytes; their date is
/// `SOURCE_DATE_EPOCH` in the environment, or that of the last commit.
#[derive(Parser)]
#[command(
    name = "cargo xtask dist",
    bin_name = "cargo xtask dist",
    version,
    before_help = "\
Examples:
  Make both, in target/dist:
      cargo xtask dist
  Make the archive alone, elsewhere, where there is no dpkg-deb:
      cargo xtask dist --no-deb --output /tmp",
    after_long_help = "\
It needs tar, gzip, strip and objdump (binutils), date and md5sum (coreutils),
and for the Debian package dpkg-deb (dpkg).

Exit status:
  0  done
  2  wrong usage
  3  a program that it needs is missing, or a file cannot be read or written"
)]
struct Args {
    /// Where to put them, instead of the dist folder of the target directory.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Pack the programs of this directory instead of building them.
    #[arg(long, value_name = "DIR", value_parser = Binaries::parser())]
    programs: Option<Binaries>,
    /// Make no Debian package.
    #[arg(long)]
    no_deb: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tests::end_with_signals();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            common::tell!("dist: {failure}");
            ExitCode::from(exit::TROUBLE)
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    let named = args.programs.as_ref();
    let programs = Binaries::or_built(named, Profile::Release, Programs::All);
    let programs = programs.map_err(Failure::Programs)?;
    let output = args.output.clone().unwrap_or_else(|| workspace.target.join("dist"));
    fs::create_dir_all(&output).map_err(file_error(&output))?;
    // What is cut off is not taken for what was made.
    let stage = TempDir::new_in(&output, "pipip-").map_err(file_error(&output))?;
    publish(&archive::make(&workspace, programs, &stage.path().join("archive"))?, &output)?;
    if !args.no_deb {
        publish(&debian::make(&workspace, programs, &stage.path().join("debian"))?, &output)?;
    }
    Ok(())
}

/// Puts what is whole in its place. Who closed standard output finds the file all the same.
fn publish(whole: &Path, output: &Path) -> Result<(), Failure> {
    let made = output.join(whole.file_name().unwrap_or_default());
    fs::rename(whole, &made).map_err(file_error(&made))?;
    lbctl::terminal::print(&format!("{}\n", made.display())).map_err(Failure::Report)
}
