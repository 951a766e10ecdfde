//! Load balancers and workers with a COMMAND, and what it leaves to see.

use std::path::PathBuf;
use std::process::Command;

use common::dead::{self, Letter};
use common::grammar::rotation::WorkerId;
use common::instance::directory::Directory;
use common::instance::line_file::LineFile;
use common::ledger::cell::{Cell, InHand};

use crate::process::{Ended, Process};
use crate::sandbox::Sandbox;

impl Sandbox {
    /// The directory for what a COMMAND notes: beside the one that the programs run in.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.root().path().join("out")
    }

    /// One of the programs with a COMMAND, which finds [`Self::out`] as `$OUT`.
    #[must_use]
    pub fn with_work(&self, program: &str, args: &[&str], work: &[&str]) -> Command {
        let mut command = self.command(program, &[args, &["--"], work].concat());
        command.env("OUT", self.out());
        command
    }

    /// Starts a load balancer with a COMMAND.
    #[must_use]
    pub fn start_work(&self, args: &[&str], work: &[&str]) -> Process {
        let name = format!("loadbalancer {} -- …", args.join(" "));
        self.start_command(self.with_work("loadbalancer", args, work), &name)
    }

    /// Runs a load balancer with a COMMAND to its end.
    #[must_use]
    pub fn work(&self, args: &[&str], work: &[&str]) -> Ended {
        self.end(&mut self.start_work(args, work))
    }

    /// The same, where COMMAND is a shell script.
    #[must_use]
    pub fn work_sh(&self, args: &[&str], script: &str) -> Ended {
        self.work(args, &["sh", "-c", script])
    }

    /// What a COMMAND has noted in that file of `$OUT`, by lines.
    #[must_use]
    pub fn noted(&self, name: &str) -> Vec<String> {
        let bytes = std::fs::read(self.out().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    /// Waits until a COMMAND has noted so many lines in that file.
    pub fn wait_for_noted(&self, name: &str, lines: usize) {
        let what = format!("{lines} lines are in $OUT/{name}");
        self.wait_until(&what, || self.noted(name).len() >= lines);
    }

    /// Makes a file in `$OUT`, for which a COMMAND waits.
    pub fn note(&self, name: &str) {
        std::fs::write(self.out().join(name), "").expect("a file in a temp directory");
    }

    /// The dead letters, in the order in which they were written. Removes them, so that nothing is left.
    #[must_use]
    pub fn take_letters(&self) -> Vec<Letter> {
        let directory = Directory::open(&self.dir()).expect("the directory");
        let mut letters = Vec::new();
        if let Some(file) = LineFile::find(&directory, dead::NAME).expect("sistem.dead") {
            let read = file.read(0, |_, letter: Result<Letter, &[u8]>| {
                let line = |bytes| String::from_utf8_lossy(bytes).into_owned();
                letters.push(letter.unwrap_or_else(|bytes| panic!("no letter: {}", line(bytes))));
                Ok(())
            });
            read.expect("sistem.dead");
            std::fs::remove_file(self.dir().join(dead::NAME)).expect("sistem.dead");
        }
        letters
    }

    /// What the ledger says that worker k has in hand.
    #[must_use]
    pub fn in_hand(&self, k: u32) -> Option<InHand> {
        self.of_cell(k, |cell| cell.in_hand(cell.executed())).flatten()
    }

    /// Waits until the ledger says that worker k has executed so many messages.
    pub fn wait_for_executed(&self, k: u32, messages: u64) {
        self.wait_until(&format!("worker {k} has executed {messages}"), || {
            self.of_cell(k, Cell::executed) >= Some(messages)
        });
    }

    fn of_cell<T>(&self, k: u32, of: impl Fn(&Cell) -> T) -> Option<T> {
        Some(of(self.ledger()?.cell(WorkerId::new(k).ok()?)))
    }
}
