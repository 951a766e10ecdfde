//! Tools that are crates of their own below this one, so that nobody waits for their build but who uses them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use common::error::exit;

/// What the tool understands, its `--help` too.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<OsString>,
}

/// Becomes `cargo run`, which becomes the tool: its exit code and the signals are ours.
pub(crate) fn run(package: &str, args: &Args) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["run", "--manifest-path", manifest, "--package", package, "--"]);
    let error = command.args(&args.options).exec();
    common::tell!("cargo: {error}");
    ExitCode::from(exit::TROUBLE)
}
