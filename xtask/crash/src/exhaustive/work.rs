//! Scenarios in which workers have a COMMAND, and what its record and the dead letters must say in the end.

use std::collections::BTreeMap;

use common::dead::{self, Letter};
use common::grammar::message_id::MessageId;
use tests::Sandbox;

use crate::handler::{self, Deed};

/// Where the handler writes: beside what programs print, outside of the directory that they run in.
const OUT: &str = "../out";

/// What workers do with messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) lines: bool,
    /// As the load balancer gets them.
    pub(crate) options: &'static [&'static str],
    /// What happens to the message of this index.
    pub(crate) deeds: &'static [(u32, Deed)],
    /// Those that become dead, whoever is killed, and how the last attempt ended.
    pub(crate) letters: &'static [(u32, &'static str)],
}

/// What may be in it because of what was done to processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struck {
    /// Somebody was killed, or a call of his failed.
    pub(crate) any: bool,
    /// Writes that were cut short.
    pub(crate) torn: usize,
}

/// What the record says of a message.
#[derive(Default)]
struct Handled {
    begun: Vec<u32>,
    done: u32,
}

impl Work {
    /// What to add to a load balancer's arguments: before N, and after it.
    pub(crate) fn arguments(&self) -> (Vec<String>, Vec<String>) {
        let lines = self.lines.then_some("--lines");
        let options = lines.into_iter().chain(self.options.iter().copied());
        // This very program: not by its path, under which a newer build may lie by now.
        let program = format!("/proc/{}/exe", std::process::id());
        let command = ["--".to_owned(), program].into_iter();
        let command = command.chain(handler::arguments(OUT, self.lines, self.deeds));
        (options.map(str::to_owned).collect(), command.collect())
    }

    /// Whether the load balancer is to end with 1.
    pub(crate) fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Every message was executed to its success, or is dead; never two attempts at once; and the letters are those
    /// that are expected.
    pub(crate) fn judge(
        &self,
        messages: u32,
        sandbox: &Sandbox,
        struck: Struck,
    ) -> Result<(), String> {
        let record = sandbox.dir().join(OUT).join(handler::RECORD);
        let record = std::fs::read_to_string(record).unwrap_or_default();
        let handled = self.handled(&record)?;
        let kills = self.deeds.iter().any(|deed| deed.1 == Deed::Kills);
        let struck = Struck { any: struck.any || kills, ..struck };
        let letters = std::fs::read(sandbox.dir().join(dead::NAME)).ok();
        if letters.is_some() && !self.has_letters() {
            return Err(format!("there is a file {} without a letter", dead::NAME));
        }
        let letters = letters_of(&letters.unwrap_or_default(), struck)?;
        let ids = || handled.keys().chain(letters.keys());
        let Some(&MessageId { session, .. }) = ids().next() else {
            return Err("nothing was executed".to_owned());
        };
        if let Some(other) = ids().find(|id| id.session != session) {
            return Err(format!("message {other} is of another session than {session:016x}"));
        }
        for index in 1..=messages {
            let id = MessageId { session, message: u64::from(index) - 1 };
            let expected = self.letters.iter().find(|letter| letter.0 == index);
            let (handled, letter) = (handled.get(&id), letters.get(&id));
            let done = handled.map_or(0, |handled| handled.done);
            match (expected, letter) {
                (None, None) if done == 0 => {
                    return Err(format!("message {index} counts, and was never executed"));
                }
                (None, None) if done > 1 && !struck.any => {
                    return Err(format!("message {index} was executed {done} times"));
                }
                (None, None) => {}
                (None, Some(letter)) => {
                    return Err(format!("message {index} is dead: {}", letter.outcome));
                }
                (Some(_), None) => return Err(format!("message {index} has no letter")),
                (Some(&(_, outcome)), Some(letter)) => {
                    // With --lines only the first of those on their way is in the ledger.
                    let begun = handled.and_then(|handled| handled.begun.iter().max().copied());
                    let begun = begun.filter(|_| !self.lines).unwrap_or(0);
                    judge_letter(letter, index, outcome, begun)?;
                }
            }
        }
        match ids().find(|id| id.message >= u64::from(messages)) {
            Some(id) => Err(format!("message {id} was executed, and was never submitted")),
            None => Ok(()),
        }
    }

    /// What the record says, which must be right by itself.
    fn handled(&self, record: &str) -> Result<BTreeMap<MessageId, Handled>, String> {
        let mut handled: BTreeMap<MessageId, Handled> = BTreeMap::new();
        for line in record.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            let &[id, attempt, word] = &parts[..] else {
                return Err(format!("the record holds `{line}`"));
            };
            let id: MessageId = id.parse().map_err(|error| format!("`{id}` {error}"))?;
            let attempt: u32 = attempt.parse().map_err(|error| format!("`{attempt}`: {error}"))?;
            let of_message = handled.entry(id).or_default();
            match word {
                "begin" => {
                    // Likewise.
                    if !self.lines && of_message.begun.last().is_some_and(|last| *last >= attempt) {
                        return Err(format!(
                            "attempt {attempt} of message {id} began after {:?}",
                            of_message.begun
                        ));
                    }
                    of_message.begun.push(attempt);
                }
                "done" => of_message.done += 1,
                "failed" => {}
                other => return Err(format!("attempt {attempt} of message {id}: {other}")),
            }
        }
        Ok(handled)
    }
}

/// The letters, which may be there twice if somebody was killed.
fn letters_of(file: &[u8], struck: Struck) -> Result<BTreeMap<MessageId, Letter>, String> {
    let mut letters = BTreeMap::new();
    let mut unreadable = 0;
    for line in file.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Letter>(line) {
            Ok(letter) => {
                let id = letter.id;
                if letters.insert(id, letter).is_some() && !struck.any {
                    return Err(format!("message {id} has two letters"));
                }
            }
            Err(_) => unreadable += 1,
        }
    }
    if unreadable > struck.torn {
        return Err(format!("{unreadable} letters cannot be read"));
    }
    Ok(letters)
}

fn judge_letter(letter: &Letter, index: u32, outcome: &str, begun: u32) -> Result<(), String> {
    if (letter.index, letter.outcome.as_str()) != (index, outcome) {
        return Err(format!(
            "message {index} has a letter of message {}: {}",
            letter.index, letter.outcome
        ));
    }
    if letter.attempts < begun {
        return Err(format!(
            "message {index} was tried {begun} times, its letter says {}",
            letter.attempts
        ));
    }
    Ok(())
}
