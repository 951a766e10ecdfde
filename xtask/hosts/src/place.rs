//! Where a run is, and with which programs: the guard says it to the run.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The program that is tested.
pub(crate) const PROGRAM: &str = "cluster";
/// The first argument of this program that makes it the run.
const NAME: &str = "inside";

/// What else is needed to measure speed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Programs {
    /// The bare publisher.
    pub(crate) publisher: PathBuf,
    /// Where the local product is.
    pub(crate) local: PathBuf,
}

/// Where the run is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Everything that it writes is in it.
    pub(crate) dir: PathBuf,
    /// The program that is tested.
    pub(crate) cluster: PathBuf,
    /// nats-server.
    pub(crate) server: PathBuf,
    /// It is in namespaces of its own.
    pub(crate) networks: bool,
    /// Speed is measured, with these programs.
    pub(crate) bench: Option<Programs>,
}

impl Place {
    /// If this process is the run: where it is, and the arguments that a person gave.
    pub(crate) fn of_this_process() -> Option<(Self, Vec<OsString>)> {
        let mut args = std::env::args_os();
        let program = args.next()?;
        let place = args.next().filter(|arg| arg == NAME).and_then(|_| args.next())?;
        let place = serde_json::from_str(place.to_str()?).ok()?;
        Some((place, [program].into_iter().chain(args).collect()))
    }

    /// The arguments that make a process the run.
    pub(crate) fn arguments(&self) -> [String; 2] {
        [NAME.to_owned(), serde_json::json!(self).to_string()]
    }
}
