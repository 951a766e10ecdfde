//! The baselines are to be built like the product, and logs of gigabytes to be judged in seconds: so
//! a debug build of xtask builds itself in release and becomes that.

use std::os::unix::process::CommandExt;
use std::path::Path;

use super::failure::Failure;

/// Whether this program is the one that measures.
pub(super) fn is_this() -> bool {
    !cfg!(debug_assertions)
}

/// Never returns but with an error.
pub(super) fn become_it() -> Failure {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let build = escargot::CargoBuild::new().manifest_path(manifest).package("xtask").bin("xtask");
    match build.release().run() {
        Ok(program) => {
            let error = program.command().args(std::env::args_os().skip(1)).exec();
            Failure::system("xtask, built in release")(error)
        }
        Err(error) => Failure::system("building xtask in release")(std::io::Error::other(error)),
    }
}
