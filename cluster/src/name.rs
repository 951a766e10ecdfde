//! By what name this directory holds worker numbers: the host's, and a number of the directory's own, so that a worker
//! that was killed takes its number back at once, and one in another directory does not.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{Read, Write};

use common::error::Error;
use common::instance::Instance;

use crate::files::open_beside;

const NAME: &str = "sistem.host";

/// The name, made when it is first asked for. Several processes may come at once.
pub(crate) fn of(instance: &Instance) -> Result<String, Error> {
    let mut file = open_beside(instance, NAME)?;
    let mut find = || {
        file.lock()?;
        let mut name = String::new();
        file.read_to_string(&mut name)?;
        if name.trim().is_empty() {
            let system = rustix::system::uname();
            let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-.".contains(*c);
            let host = system.nodename().to_string_lossy();
            let host: String = host.chars().filter(is_plain).take(64).collect();
            let number = RandomState::new().hash_one(()) as u32;
            name = format!("{host}-{number:08x}\n");
            file.write_all(name.as_bytes())?;
        }
        file.unlock()?;
        Ok(name.trim().to_owned())
    };
    find().map_err(|source| Error::File { path: instance.path().join(NAME), source })
}
