//! What an error advises, as far as it is a command that can be given as it is.

use std::collections::BTreeSet;
use std::fs::OpenOptions;

use ::tests::{IpcObject, Sandbox};
use common::fence::shared_memory;
use nix::errno::Errno;

use crate::witness;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    /// `ipcrm -m ID`, with the id from `ipcs -m`: this directory's.
    RemoveLedger,
    /// `ipcrm -m 1234`.
    RemoveSegment(i32),
    /// `truncate -s 1234 sistem.log`.
    Truncate(u64),
}

/// The commands between backticks, each once: several processes may say the same.
pub(super) fn commands(said: &str) -> BTreeSet<Command> {
    let quoted = said.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|quoted| match quoted.split_whitespace().collect::<Vec<_>>()[..] {
            ["ipcrm", "-m", "ID"] => Some(Command::RemoveLedger),
            ["ipcrm", "-m", id] => id.parse().ok().map(Command::RemoveSegment),
            ["truncate", "-s", len, _] => len.parse().ok().map(Command::Truncate),
            _ => None,
        })
        .collect()
}

impl Command {
    /// Does what it does. An error is bad advice.
    pub(super) fn follow(self, sandbox: &Sandbox) -> Result<(), String> {
        let done = match self {
            Self::RemoveLedger => match witness::ledger(&sandbox.dir()) {
                Some(ledger) => shared_memory::remove(ledger.segment_id()).map_err(Into::into),
                None => Ok(()),
            },
            Self::RemoveSegment(id) => {
                let is_it = |object: &IpcObject| matches!(object, IpcObject::Segment { id: it, .. } if *it == id);
                // Others may have come through without what was damaged, and removed it at the end.
                let is_gone = matches!(shared_memory::stat(id), Err(Errno::EINVAL | Errno::EIDRM));
                if !is_gone && !sandbox.ipc_objects().iter().any(is_it) {
                    return Err(format!("bad advice: segment {id} is not of this directory"));
                }
                if is_gone { Ok(()) } else { shared_memory::remove(id).map_err(Into::into) }
            }
            Self::Truncate(len) => {
                let log = OpenOptions::new().write(true).open(sandbox.log_path());
                log.and_then(|log| log.set_len(len))
            }
        };
        done.map_err(|error: std::io::Error| format!("bad advice: {self:?}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_what_is_said() {
        let said = "client: it is damaged; remove it (`ipcs -m`, `ipcrm -m ID`) and start again\n\
                    loadbalancer: `ipcrm -m 17`, and `truncate -s 46 sistem.log`, or `loadbalancer 3`\n\
                    worker: `ipcrm -m 17`\n";
        let expected = [Command::RemoveLedger, Command::RemoveSegment(17), Command::Truncate(46)];
        assert_eq!(commands(said), BTreeSet::from(expected));
        assert!(commands("nothing can be done").is_empty());
    }
}
